package wal

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// scanBuffer is the size in bytes of the buffer for scanning a segment. It is fixed: a
// length read from a damaged disk never sizes a buffer.
const scanBuffer = 256 << 10

// badFrame reports the first frame of a segment that cannot be right. It is an error
// inside of the package: recovery turns it into a torn tail or a *CorruptionError.
type badFrame struct {
	off    int64 // of the bad frame
	reason string
	// torn means that an interrupted write may have left this. Otherwise the checksums
	// are right and the content contradicts itself, which no crash explains.
	torn bool
	// after is the lowest offset at which a frame of a later batch may begin.
	after int64
}

func (e *badFrame) Error() string { return fmt.Sprintf("offset %d: %s", e.off, e.reason) }

// contents is the result of a segment's scan.
type contents struct {
	offsets []uint32 // of the records of whole batches
	end     int64    // behind the last whole batch or marker
	synced  int64    // the greatest offset that a good frame says was durable
	marked  bool     // the last frame is a marker
}

// scanner reads a segment's frames in order.
type scanner struct {
	r       *bufio.Reader
	off     int64 // of the next frame
	limit   int64 // offset at which reading ends
	seed    uint32
	sealed  bool
	control [batchPayload]byte // payload of the latest of the log's own frames
	chunk   []byte
}

// scannedFrame is a frame whose checksum is right.
type scannedFrame struct {
	off     int64
	typ     byte
	control []byte // payload of a batch header or marker; valid until the next frame
}

// scanSegment reads the segment's frames behind the header up to limit: the end of a
// sealed segment, or the size of the tail's file. It returns the good part; the error
// is a *badFrame, or that of a read.
func scanSegment(r io.ReaderAt, first uint64, seed uint32, limit int64, sealed bool) (contents, error) {
	room := limit - segmentHeaderSize
	s := &scanner{
		r:      bufio.NewReaderSize(io.NewSectionReader(r, segmentHeaderSize, room), int(min(scanBuffer, room))),
		off:    segmentHeaderSize,
		limit:  limit,
		seed:   seed,
		sealed: sealed,
		chunk:  make([]byte, min(scanBuffer/8, room)),
	}
	c := contents{end: segmentHeaderSize}
	for s.off < limit {
		whole := len(c.offsets)
		if err := s.group(&c, first); err != nil {
			c.offsets = c.offsets[:whole]
			return c, err
		}
		c.end = s.off
	}
	return c, nil
}

// group reads one marker or one batch into c.
func (s *scanner) group(c *contents, first uint64) error {
	f, err := s.next()
	if err != nil {
		return err
	}
	switch f.typ {
	case typeMarker:
		return s.marker(c, f)
	case typeBatch:
		h := parseBatchHeader(f.control)
		if err := s.batch(c, f, h, first+uint64(len(c.offsets))); err != nil {
			if bad, ok := errors.AsType[*badFrame](err); ok && h.bytes >= 0 && h.bytes <= s.limit {
				// The header is good, so no record of its batch is taken for a later batch.
				bad.after = max(bad.after, f.off+batchSize+h.bytes)
			}
			return err
		}
		return nil
	}
	return &badFrame{off: f.off, reason: fmt.Sprintf("frame of type %#x outside of a batch", f.typ)}
}

func (s *scanner) marker(c *contents, f scannedFrame) error {
	synced := int64(binary.BigEndian.Uint64(f.control))
	if synced < segmentHeaderSize || synced > f.off {
		return &badFrame{off: f.off, reason: "marker of a synced offset out of range"}
	}
	c.synced, c.marked = max(c.synced, synced), true
	return nil
}

// batch reads the records behind the batch header f.
func (s *scanner) batch(c *contents, f scannedFrame, h batchHeader, next uint64) error {
	contradiction := func(off int64, reason string) error { return &badFrame{off: off, reason: reason} }
	switch {
	case h.first != next:
		return contradiction(f.off, fmt.Sprintf("batch of index %d where %d follows", h.first, next))
	case h.synced < segmentHeaderSize || h.synced > f.off:
		return contradiction(f.off, "batch of a synced offset out of range")
	case h.count == 0 || h.bytes < int64(h.count)*HeaderSize || h.bytes > MaxBatchBytes:
		return contradiction(f.off, "batch size does not match its record count")
	}
	c.synced = max(c.synced, h.synced)
	stop := s.off + h.bytes
	for range h.count {
		if s.sealed && s.off == s.limit {
			return nil // TruncateBack removed the rest of this batch
		}
		r, err := s.next()
		if err != nil {
			return err
		}
		if r.control != nil {
			return contradiction(r.off, fmt.Sprintf("frame of type %#x inside a batch", r.typ))
		}
		c.offsets = append(c.offsets, uint32(r.off))
	}
	if s.off != stop {
		return contradiction(s.off, "batch size does not match its records")
	}
	c.marked = false
	return nil
}

// next reads and checks one frame.
func (s *scanner) next() (scannedFrame, error) {
	off := s.off
	torn := func(reason string) (scannedFrame, error) {
		return scannedFrame{}, &badFrame{off: off, reason: reason, torn: true, after: off}
	}
	if s.limit-off < HeaderSize {
		return torn("frame is cut short")
	}
	var raw [HeaderSize]byte
	if _, err := io.ReadFull(s.r, raw[:]); err != nil {
		return scannedFrame{}, err
	}
	h := parseFrameHeader(raw[:])
	n, reason := h.payloadLen(s.limit - off)
	if reason != "" {
		return torn(reason)
	}
	sum := crc32.Update(frameSeed(s.seed, off), castagnoli, raw[4:])
	sum, err := s.payload(sum, n)
	if err != nil {
		return scannedFrame{}, err
	}
	if sum != h.sum {
		return torn("checksum mismatch")
	}
	s.off = off + HeaderSize + n
	f := scannedFrame{off: off, typ: h.typ}
	switch {
	case h.typ == typeBatch && n == batchPayload, h.typ == typeMarker && n == markerPayload:
		f.control = s.control[:n]
	case h.typ == 0 || h.typ >= typeReserved:
		return scannedFrame{}, &badFrame{off: off, reason: fmt.Sprintf("frame of unknown type %#x and length %d", h.typ, n)}
	}
	return f, nil
}

// payload reads n bytes, continues the checksum sum with them and keeps the first
// ones in s.control.
func (s *scanner) payload(sum uint32, n int64) (uint32, error) {
	for done := int64(0); done < n; {
		b := s.chunk[:min(int64(len(s.chunk)), n-done)]
		if _, err := io.ReadFull(s.r, b); err != nil {
			return 0, err
		}
		if done == 0 {
			copy(s.control[:], b)
		}
		sum = crc32.Update(sum, castagnoli, b)
		done += int64(len(b))
	}
	return sum, nil
}
