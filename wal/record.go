package wal

import (
	"encoding/binary"
	"fmt"
)

// recordOverhead is the size in bytes of a Record's payload without its key and value.
const recordOverhead = 4 + 4 + 8 + 8 + 8

// Record is a change of one key: the meaning that package store gives to a record
// of the log. Its frame's payload is, big endian:
//
//	keyLen(4) key valueLen(4) value expiresAt(8) sequence(8) timestamp(8)
type Record struct {
	Type      byte // RecordTypePut or RecordTypeDelete
	Key       []byte
	Value     []byte // empty for a delete
	ExpiresAt int64  // deadline in nanoseconds since the Unix epoch, 0 for never
	Sequence  uint64 // orders changes; the index in the log of the record that holds the change
	Timestamp int64  // when the change was made, in nanoseconds since the Unix epoch
}

// Encode returns the record's payload.
func (r *Record) Encode() []byte {
	return r.AppendTo(make([]byte, 0, recordOverhead+len(r.Key)+len(r.Value)))
}

// AppendTo appends the record's payload to b and returns the extended slice.
func (r *Record) AppendTo(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(r.Key)))
	b = append(b, r.Key...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(r.Value)))
	b = append(b, r.Value...)
	b = binary.BigEndian.AppendUint64(b, uint64(r.ExpiresAt))
	b = binary.BigEndian.AppendUint64(b, r.Sequence)
	return binary.BigEndian.AppendUint64(b, uint64(r.Timestamp))
}

// DecodeRecord is the reverse of Encode. Key and Value alias payload. The error
// wraps ErrInvalidFrame.
func DecodeRecord(typ byte, payload []byte) (*Record, error) {
	if typ != RecordTypePut && typ != RecordTypeDelete {
		return nil, fmt.Errorf("%w: type %d is no record of one key", ErrInvalidFrame, typ)
	}
	r := &Record{Type: typ}
	var rest []byte
	var ok bool
	if r.Key, rest, ok = takeBytes(payload); ok {
		r.Value, rest, ok = takeBytes(rest)
	}
	if !ok || len(rest) != 24 {
		return nil, fmt.Errorf("%w: record of %d bytes is cut short or too long", ErrInvalidFrame, len(payload))
	}
	r.ExpiresAt = int64(binary.BigEndian.Uint64(rest))
	r.Sequence = binary.BigEndian.Uint64(rest[8:])
	r.Timestamp = int64(binary.BigEndian.Uint64(rest[16:]))
	return r, nil
}

// EncodeBatch returns the payload of one record of RecordTypeBatch, which holds several
// changes: the number of changes(4), then type(1) length(4) payload of each.
func EncodeBatch(records []*Record) []byte {
	size := 4
	for _, r := range records {
		size += 5 + recordOverhead + len(r.Key) + len(r.Value)
	}
	b := binary.BigEndian.AppendUint32(make([]byte, 0, size), uint32(len(records)))
	for _, r := range records {
		b = append(b, r.Type)
		b = binary.BigEndian.AppendUint32(b, uint32(recordOverhead+len(r.Key)+len(r.Value)))
		b = r.AppendTo(b)
	}
	return b
}

// DecodeBatch is the reverse of EncodeBatch; the changes alias payload. The error
// wraps ErrInvalidFrame.
func DecodeBatch(payload []byte) ([]*Record, error) {
	short := fmt.Errorf("%w: batch of %d bytes is cut short or too long", ErrInvalidFrame, len(payload))
	if len(payload) < 4 {
		return nil, short
	}
	count, rest := binary.BigEndian.Uint32(payload), payload[4:]
	if uint64(count)*(5+recordOverhead) > uint64(len(rest)) {
		return nil, short
	}
	records := make([]*Record, 0, count)
	for range count {
		if len(rest) < 1 {
			return nil, short
		}
		typ := rest[0]
		body, after, ok := takeBytes(rest[1:])
		if !ok {
			return nil, short
		}
		r, err := DecodeRecord(typ, body)
		if err != nil {
			return nil, err
		}
		records, rest = append(records, r), after
	}
	if len(rest) > 0 {
		return nil, short
	}
	return records, nil
}

// takeBytes returns a field of b, which begins with its length(4), and the rest of b.
func takeBytes(b []byte) (field, rest []byte, ok bool) {
	if len(b) < 4 || uint64(binary.BigEndian.Uint32(b)) > uint64(len(b)-4) {
		return nil, nil, false
	}
	n := int(binary.BigEndian.Uint32(b))
	return b[4 : 4+n : 4+n], b[4+n:], true
}

// Write appends one record under the log's next index, which becomes its
// Sequence. Errors are those of Append.
func (w *WAL) Write(r *Record) error {
	if err := w.lock(); err != nil {
		return err
	}
	defer w.unlock()
	index := max(w.next, 1)
	r.Sequence = index
	return w.appendLocked(index, []Frame{{Type: r.Type, Payload: r.Encode()}})
}

// WritePut appends a put of key, with a deadline in nanoseconds since the Unix
// epoch or 0. Errors are those of Append.
func (w *WAL) WritePut(key, value []byte, expiresAt int64) error {
	return w.Write(&Record{Type: RecordTypePut, Key: key, Value: value, ExpiresAt: expiresAt})
}

// WriteDelete appends a delete of key. Errors are those of Append.
func (w *WAL) WriteDelete(key []byte) error {
	return w.Write(&Record{Type: RecordTypeDelete, Key: key})
}
