package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// ErrMalformed is returned for bytes that no encoding has made: they are too short, too
// long, or damaged.
var ErrMalformed = errors.New("malformed encoding")

// AppendBytes appends b, preceded by its length, to dst and returns the extended slice.
func AppendBytes[T string | []byte](dst []byte, b T) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(b)))
	return append(dst, b...)
}

// UvarintLen returns the number of bytes that n takes as a uvarint.
func UvarintLen(n uint64) int {
	length := 1
	for ; n >= 0x80; n >>= 7 {
		length++
	}
	return length
}

// Take divides data into its first count fields of variable length, with their lengths, and
// the rest. Neither is copied. The error wraps ErrMalformed.
func Take(data []byte, count int) (fields, rest []byte, err error) {
	r := NewReader(data)
	for range count {
		r.Bytes()
	}
	if r.err != nil {
		return nil, nil, r.err
	}
	n := len(data) - len(r.data)
	return data[:n:n], r.data, nil
}

// Reader reads fields from a slice of bytes, one after the other. Its first error stays:
// then every field is zero and no bytes are left.
type Reader struct {
	data []byte
	err  error
}

// NewReader returns a Reader of data, which must not be modified while fields of it are in use.
func NewReader(data []byte) Reader { return Reader{data: data} }

// Len returns the number of bytes that are left.
func (r *Reader) Len() int { return len(r.data) }

// Err returns the first error, which wraps ErrMalformed unless Fail was given another one.
func (r *Reader) Err() error { return r.err }

// Finish returns the first error, or ErrMalformed if bytes are left.
func (r *Reader) Finish() error {
	if r.err == nil && len(r.data) > 0 {
		return fmt.Errorf("%w: %d bytes after the end", ErrMalformed, len(r.data))
	}
	return r.err
}

// Fail makes err the first error unless there is one.
func (r *Reader) Fail(err error) {
	if r.err == nil {
		r.err = err
	}
	r.data = nil
}

// Malformed fails with an ErrMalformed and a reason.
func (r *Reader) Malformed(what string) { r.Fail(fmt.Errorf("%w: %s", ErrMalformed, what)) }

// Byte returns the next byte.
func (r *Reader) Byte() byte {
	if len(r.data) < 1 {
		r.Malformed("cut short")
		return 0
	}
	b := r.data[0]
	r.data = r.data[1:]
	return b
}

// Uint32 returns the next four bytes, which are big endian.
func (r *Reader) Uint32() uint32 { return uint32(r.bigEndian(4)) }

// Uint64 returns the next eight bytes, which are big endian.
func (r *Reader) Uint64() uint64 { return r.bigEndian(8) }

// bigEndian returns the number in the next size bytes.
func (r *Reader) bigEndian(size int) (v uint64) {
	if len(r.data) < size {
		r.Malformed("cut short")
		return 0
	}
	for _, b := range r.data[:size] {
		v = v<<8 | uint64(b)
	}
	r.data = r.data[size:]
	return v
}

// Uvarint returns the next uvarint.
func (r *Reader) Uvarint() uint64 {
	v, n := binary.Uvarint(r.data)
	if n <= 0 {
		r.Malformed("bad number")
		return 0
	}
	r.data = r.data[n:]
	return v
}

// Varint returns the next varint: a signed number (encoding/binary).
func (r *Reader) Varint() int64 {
	u := r.Uvarint()
	return int64(u>>1) ^ -int64(u&1)
}

// Count returns the next uvarint as a number of elements, each of which takes least bytes or
// more. It fails if the rest has no room for so many. So a caller may allocate memory for
// them.
func (r *Reader) Count(least int) int {
	n := r.Uvarint()
	if n > uint64(len(r.data)/least) {
		r.Malformed("count is greater than what follows")
		return 0
	}
	return int(n)
}

// Bytes returns the next field of variable length. It aliases the data, and its capacity is
// its length, so an append can't overwrite the data; an empty field is nil.
func (r *Reader) Bytes() []byte {
	n := r.Uvarint()
	if n > uint64(len(r.data)) {
		r.Malformed("length is greater than what follows")
		return nil
	}
	if n == 0 {
		return nil
	}
	b := r.data[:n:n]
	r.data = r.data[n:]
	return b
}

// Rest returns all bytes that are left, in the way of Bytes.
func (r *Reader) Rest() []byte {
	b := r.data
	r.data = nil
	if len(b) == 0 {
		return nil
	}
	return b[:len(b):len(b)]
}
