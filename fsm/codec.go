package fsm

import (
	"encoding/binary"
	"fmt"

	"github.com/kvorum/kvorum/store"
)

// Format versions, the first byte of everything encoded here.
const (
	commandVersion = 1 // of EncodeBatch and EncodeCommands
	resultVersion  = 1 // of EncodeResults
)

// The fewest bytes that an encoded command and result have: what bounds a count
// before anything is allocated for it.
const (
	minCommandLen = 5 // op, condition kind, condition revision, key length, value length
	minResultLen  = 4 // status, flags, revision, current
)

// flagCreated is the bit of an encoded result's flags that stands for Result.Created.
const flagCreated byte = 1

// EncodeBatch appends b to dst and returns it. It does not fail: a command that
// DecodeBatch would refuse must not be encoded.
func EncodeBatch(dst []byte, b Batch) []byte {
	dst = append(dst, commandVersion)
	dst = binary.BigEndian.AppendUint64(dst, uint64(b.Clock))
	return appendCommands(dst, b.Commands)
}

// DecodeBatch decodes what EncodeBatch made of a batch. The values alias data,
// which must not be modified afterwards; an empty value is nil. The error is
// ErrMalformed or a *VersionError.
func DecodeBatch(data []byte) (Batch, error) {
	d := decoder{data: data}
	d.version("command format", commandVersion)
	b := Batch{Clock: int64(d.uint64())}
	b.Commands = d.commands()
	if err := d.finish(); err != nil {
		return Batch{}, fmt.Errorf("decode batch: %w", err)
	}
	return b, nil
}

// EncodeCommands appends a list of commands without a clock to dst and returns
// it: what a peer forwards to the leader, which stamps it.
func EncodeCommands(dst []byte, commands []Command) []byte {
	return appendCommands(append(dst, commandVersion), commands)
}

// DecodeCommands decodes what EncodeCommands made. Aliasing and errors are
// those of DecodeBatch.
func DecodeCommands(data []byte) ([]Command, error) {
	d := decoder{data: data}
	d.version("command format", commandVersion)
	commands := d.commands()
	if err := d.finish(); err != nil {
		return nil, fmt.Errorf("decode commands: %w", err)
	}
	return commands, nil
}

// EncodeResults appends results to dst and returns it: the answer to forwarded commands.
func EncodeResults(dst []byte, results []Result) []byte {
	dst = append(dst, resultVersion)
	dst = binary.AppendUvarint(dst, uint64(len(results)))
	for _, r := range results {
		var flags byte
		if r.Created {
			flags |= flagCreated
		}
		dst = append(dst, byte(r.Status), flags)
		dst = binary.AppendUvarint(dst, r.Revision)
		dst = binary.AppendUvarint(dst, r.Current)
	}
	return dst
}

// DecodeResults decodes what EncodeResults made. The error is ErrMalformed or a
// *VersionError.
func DecodeResults(data []byte) ([]Result, error) {
	d := decoder{data: data}
	d.version("result format", resultVersion)
	results := make([]Result, d.count(minResultLen))
	for i := range results {
		r := &results[i]
		r.Status = Status(d.known("status", byte(StatusOK), byte(StatusConditionFailed)))
		r.Created = d.known("result flags", 0, flagCreated)&flagCreated != 0
		r.Revision = d.uvarint()
		r.Current = d.uvarint()
	}
	if err := d.finish(); err != nil {
		return nil, fmt.Errorf("decode results: %w", err)
	}
	return results, nil
}

func appendCommands(dst []byte, commands []Command) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(commands)))
	for _, c := range commands {
		dst = append(dst, byte(c.Op), byte(c.Cond.Kind))
		dst = binary.AppendUvarint(dst, c.Cond.Revision)
		dst = appendBytes(dst, c.Key)
		dst = appendBytes(dst, c.Value)
	}
	return dst
}

// appendBytes appends b with its length before it.
func appendBytes[T string | []byte](dst []byte, b T) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(b)))
	return append(dst, b...)
}

// decoder cuts fields off the front of data. Its first error stays; from then
// on every field is zero and nothing is left.
type decoder struct {
	data []byte
	err  error
}

// finish returns the first error, or ErrMalformed where bytes are left over.
func (d *decoder) finish() error {
	if d.err == nil && len(d.data) > 0 {
		return fmt.Errorf("%w: %d bytes after the end", ErrMalformed, len(d.data))
	}
	return d.err
}

func (d *decoder) fail(err error) {
	if d.err == nil {
		d.err = err
	}
	d.data = nil
}

func (d *decoder) malformed(what string) { d.fail(fmt.Errorf("%w: %s", ErrMalformed, what)) }

func (d *decoder) byte() byte {
	if len(d.data) < 1 {
		d.malformed("cut short")
		return 0
	}
	b := d.data[0]
	d.data = d.data[1:]
	return b
}

func (d *decoder) uint32() uint32 {
	if len(d.data) < 4 {
		d.malformed("cut short")
		return 0
	}
	v := binary.BigEndian.Uint32(d.data)
	d.data = d.data[4:]
	return v
}

func (d *decoder) uint64() uint64 {
	if len(d.data) < 8 {
		d.malformed("cut short")
		return 0
	}
	v := binary.BigEndian.Uint64(d.data)
	d.data = d.data[8:]
	return v
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.data)
	if n <= 0 {
		d.malformed("bad number")
		return 0
	}
	d.data = d.data[n:]
	return v
}

// version checks the format version that data begins with.
func (d *decoder) version(what string, supported byte) { d.known(what, supported, supported) }

// known returns the next byte, which must be between first and last.
func (d *decoder) known(what string, first, last byte) byte {
	v := d.byte()
	if d.err == nil && (v < first || v > last) {
		d.fail(&VersionError{What: what, Version: v, Supported: last})
		return 0
	}
	return v
}

// count returns a number of elements that the rest of data has room for, if
// each takes minLen bytes at least.
func (d *decoder) count(minLen int) int {
	n := d.uvarint()
	if n > uint64(len(d.data)/minLen) {
		d.malformed("count is greater than what follows")
		return 0
	}
	return int(n)
}

// bytes returns a field with its length before it. It aliases data and has no
// room to grow into it; an empty one is nil.
func (d *decoder) bytes() []byte {
	n := d.uvarint()
	if n > uint64(len(d.data)) {
		d.malformed("length is greater than what follows")
		return nil
	}
	if n == 0 {
		return nil
	}
	b := d.data[:n:n]
	d.data = d.data[n:]
	return b
}

func (d *decoder) commands() []Command {
	commands := make([]Command, d.count(minCommandLen))
	for i := range commands {
		c := &commands[i]
		c.Op = Op(d.known("operation", byte(OpPut), byte(OpCheckpoint)))
		c.Cond.Kind = ConditionKind(d.known("condition", byte(CondNone), byte(CondRevision)))
		c.Cond.Revision = d.uvarint()
		c.Key = string(d.bytes())
		c.Value = d.bytes()
		if len(c.Key) > store.MaxKeyLength || len(c.Key)+len(c.Value) > store.MaxItemSize {
			d.malformed("item is too large")
		}
		if d.err != nil {
			return nil
		}
	}
	return commands
}
