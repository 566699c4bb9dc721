package fsm

import "github.com/kvorum/kvorum/internal/wire"

// DecodeEntryForTesting decodes an entry without applying it.
func DecodeEntryForTesting(data []byte) error { return newest.entry(data, new(batch)) }

// CheckOfVersionForTesting is Check of such a program.
func CheckOfVersionForTesting(understands, version byte, count int, data []byte) (wire.Requests, error) {
	return newCodec(understands).check(version, count, data)
}
