package entry

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/hashicorp/raft"
)

// Version is the first byte of every encoding that this package makes.
const Version = 1

// headerSize is the size in bytes of everything before Extensions and Data.
const headerSize = 39

// Flags that distinguish a nil slice from an empty one.
const (
	flagData       = 1 << 0
	flagExtensions = 1 << 1
	knownFlags     = flagData | flagExtensions
)

// ErrMalformed is returned by Decode for bytes that Append of this version
// cannot have made.
var ErrMalformed = errors.New("malformed log entry")

// Size returns the number of bytes that Append adds for l.
func Size(l *raft.Log) int {
	return headerSize + len(l.Extensions) + len(l.Data)
}

// MinSize is the size in bytes of the shortest encoding.
const MinSize = headerSize

// Append appends the encoding of l to dst and returns the extended buffer. It
// copies Data and Extensions. It panics if one of them is 4 GiB or longer: the
// limits on commands are far below, so this would be a broken invariant.
func Append(dst []byte, l *raft.Log) []byte {
	return append(AppendHeader(dst, l), l.Data...)
}

// AppendHeader is Append without l.Data, which ends the encoding: a caller that can write
// from several buffers need not copy it.
func AppendHeader(dst []byte, l *raft.Log) []byte {
	var flags byte
	if l.Data != nil {
		flags |= flagData
	}
	if l.Extensions != nil {
		flags |= flagExtensions
	}
	dst = append(dst, Version, flags, byte(l.Type))
	dst = binary.BigEndian.AppendUint64(dst, l.Index)
	dst = binary.BigEndian.AppendUint64(dst, l.Term)
	dst = binary.BigEndian.AppendUint64(dst, uint64(l.AppendedAt.Unix()))
	dst = binary.BigEndian.AppendUint32(dst, uint32(l.AppendedAt.Nanosecond()))
	dst = appendLength(dst, len(l.Extensions))
	dst = appendLength(dst, len(l.Data))
	return append(dst, l.Extensions...)
}

// Decode decodes the encoding of one entry, which b must hold exactly. Data and
// Extensions of the result alias b: the caller must not change b while the
// entry is in use, and must copy it if b is a buffer to be used again. An error
// wraps ErrMalformed.
func Decode(b []byte) (raft.Log, error) {
	if len(b) == 0 {
		return raft.Log{}, fmt.Errorf("%w: no bytes", ErrMalformed)
	}
	if b[0] != Version {
		return raft.Log{}, fmt.Errorf("%w: version %d, want %d", ErrMalformed, b[0], Version)
	}
	if len(b) < headerSize {
		return raft.Log{}, fmt.Errorf("%w: %d bytes, less than a header of %d", ErrMalformed, len(b), headerSize)
	}
	flags := b[1]
	if flags&^knownFlags != 0 {
		return raft.Log{}, fmt.Errorf("%w: unknown flags %#x", ErrMalformed, flags)
	}
	nanoseconds := binary.BigEndian.Uint32(b[27:])
	if nanoseconds >= uint32(time.Second) {
		return raft.Log{}, fmt.Errorf("%w: %d nanoseconds in a second", ErrMalformed, nanoseconds)
	}
	extensions, data, err := split(b[headerSize:], binary.BigEndian.Uint32(b[31:]), binary.BigEndian.Uint32(b[35:]))
	if err != nil {
		return raft.Log{}, err
	}
	l := raft.Log{
		Index:      binary.BigEndian.Uint64(b[3:]),
		Term:       binary.BigEndian.Uint64(b[11:]),
		Type:       raft.LogType(b[2]),
		AppendedAt: time.Unix(int64(binary.BigEndian.Uint64(b[19:])), int64(nanoseconds)).UTC(),
	}
	if l.Data, err = pick("data", data, flags&flagData != 0); err != nil {
		return raft.Log{}, err
	}
	if l.Extensions, err = pick("extensions", extensions, flags&flagExtensions != 0); err != nil {
		return raft.Log{}, err
	}
	return l, nil
}

// split divides body into extensions and data, whose lengths must add up to its own. The
// capacity of each is its length, so an append to one of them cannot overwrite the other.
func split(body []byte, extensionsLen, dataLen uint32) (extensions, data []byte, err error) {
	if uint64(extensionsLen)+uint64(dataLen) != uint64(len(body)) {
		return nil, nil, fmt.Errorf("%w: extensions of %d and data of %d bytes in a body of %d",
			ErrMalformed, extensionsLen, dataLen, len(body))
	}
	return body[:extensionsLen:extensionsLen], body[extensionsLen:len(body):len(body)], nil
}

// pick returns b if its flag says that the field is present, and nil otherwise.
func pick(field string, b []byte, present bool) ([]byte, error) {
	if present {
		return b, nil
	}
	if len(b) != 0 {
		return nil, fmt.Errorf("%w: %d bytes of %s flagged as absent", ErrMalformed, len(b), field)
	}
	return nil, nil
}

func appendLength(dst []byte, n int) []byte {
	if uint64(n) > math.MaxUint32 {
		panic(fmt.Sprintf("entry: a field of %d bytes does not fit a log entry", n))
	}
	return binary.BigEndian.AppendUint32(dst, uint32(n))
}
