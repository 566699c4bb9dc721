package wal

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// Types of the log's own frames. A type of typeReserved or above is never a record.
const (
	typeReserved byte = 0xF0
	typeBatch    byte = 0xF0 // precedes the records of one Append
	typeMarker   byte = 0xF1 // says up to which offset the segment was durable
)

// Sizes in bytes of the log's own frames.
const (
	batchPayload  = 28
	markerPayload = 8
	batchSize     = HeaderSize + batchPayload
	markerSize    = HeaderSize + markerPayload
)

// MaxBatchBytes is the maximum size in bytes of all records of one Append, frame
// headers included: 1 GiB.
const MaxBatchBytes = 1 << 30

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// withChecksum appends b's checksum, as segment headers and manifests end.
func withChecksum(b []byte) []byte {
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// segmentSeed starts the checksum of every frame of one segment. It covers the
// segment's owner, so that bytes of another node's log never look valid.
func segmentSeed(id segmentID, owner Owner) uint32 {
	b := binary.BigEndian.AppendUint64(nil, uint64(id))
	b = append(b, owner.Node...)
	b = append(b, 0)
	b = append(b, owner.Cluster...)
	return crc32.Checksum(b, castagnoli)
}

// frameSeed continues a segment's seed with a frame's offset, so that a frame
// is valid only where it was written. (crc32.Update would move the eight bytes
// to the heap for every record.)
func frameSeed(seed uint32, off int64) uint32 {
	crc := ^seed
	for shift := 56; shift >= 0; shift -= 8 {
		crc = castagnoli[byte(crc)^byte(off>>shift)] ^ (crc >> 8)
	}
	return ^crc
}

// appendFrame appends to buf the frame that is stored at off in the segment.
func appendFrame(buf []byte, seed uint32, off int64, typ byte, payload []byte) []byte {
	start := len(buf)
	buf = append(buf, 0, 0, 0, 0)
	buf = binary.BigEndian.AppendUint32(buf, uint32(len(payload)+1))
	buf = append(buf, typ)
	buf = append(buf, payload...)
	sum := crc32.Update(frameSeed(seed, off), castagnoli, buf[start+4:])
	binary.BigEndian.PutUint32(buf[start:], sum)
	return buf
}

// frameHeader is the fixed part of a frame, as read from disk and not yet checked.
type frameHeader struct {
	sum    uint32
	length uint32 // of type and payload
	typ    byte
}

func parseFrameHeader(b []byte) frameHeader {
	return frameHeader{
		sum:    binary.BigEndian.Uint32(b),
		length: binary.BigEndian.Uint32(b[4:]),
		typ:    b[8],
	}
}

// payloadLen returns the payload's length. A reason means that the frame is bad, or
// does not fit into room bytes.
func (h frameHeader) payloadLen(room int64) (n int64, reason string) {
	n = int64(h.length) - 1
	switch {
	case h == frameHeader{}:
		return 0, "zeros where a frame should be"
	case n < 0:
		return 0, "frame of length zero"
	case n > MaxPayload:
		return 0, "frame length above the limit"
	case HeaderSize+n > room:
		return 0, "frame reaches beyond its room"
	}
	return n, ""
}

// parseFrame checks the frame at the start of b, which was read at offset off of its
// segment. The payload aliases b. A reason means that the frame is bad.
func parseFrame(b []byte, seed uint32, off int64) (f Frame, reason string) {
	if len(b) < HeaderSize {
		return Frame{}, "frame is cut short"
	}
	h := parseFrameHeader(b)
	n, reason := h.payloadLen(int64(len(b)))
	if reason != "" {
		return Frame{}, reason
	}
	end := HeaderSize + int(n)
	if crc32.Update(frameSeed(seed, off), castagnoli, b[4:end]) != h.sum {
		return Frame{}, "checksum mismatch"
	}
	return Frame{Type: h.typ, Payload: b[HeaderSize:end:end]}, ""
}

// batchHeader is the payload of a frame of typeBatch.
type batchHeader struct {
	first  uint64 // index of the batch's first record
	count  uint32 // number of records
	bytes  int64  // size of the records' frames, which follow at once
	synced int64  // offset in this segment below which all was durable when this was written
}

func (h batchHeader) encode() [batchPayload]byte {
	var b [batchPayload]byte
	binary.BigEndian.PutUint64(b[0:], h.first)
	binary.BigEndian.PutUint32(b[8:], h.count)
	binary.BigEndian.PutUint64(b[12:], uint64(h.bytes))
	binary.BigEndian.PutUint64(b[20:], uint64(h.synced))
	return b
}

func parseBatchHeader(b []byte) batchHeader {
	return batchHeader{
		first:  binary.BigEndian.Uint64(b[0:]),
		count:  binary.BigEndian.Uint32(b[8:]),
		bytes:  int64(binary.BigEndian.Uint64(b[12:])),
		synced: int64(binary.BigEndian.Uint64(b[20:])),
	}
}

// framesSize returns the size in bytes of the records' frames on disk. The error
// is ErrInvalidFrame or ErrPayloadTooLarge for records that the log cannot hold.
func framesSize(frames []Frame) (int64, error) {
	var size int64
	for i := range frames {
		if t := frames[i].Type; t == 0 || t >= typeReserved {
			return 0, fmt.Errorf("%w: %#x", ErrInvalidFrame, t)
		}
		if n := len(frames[i].Payload); n > MaxPayload {
			return 0, fmt.Errorf("%w: %d bytes, the limit is %d", ErrPayloadTooLarge, n, MaxPayload)
		}
		if size += HeaderSize + int64(len(frames[i].Payload)); size > MaxBatchBytes {
			return 0, fmt.Errorf("%w: batch above %d bytes", ErrPayloadTooLarge, MaxBatchBytes)
		}
	}
	return size, nil
}
