package wal

import (
	"bytes"
	"encoding/binary"
	"io"
)

// The log's own frames have a fixed length and type. These patterns find them among
// bytes that cannot be parsed.
var (
	batchPattern  = []byte{0, 0, 0, batchPayload + 1, typeBatch}
	markerPattern = []byte{0, 0, 0, markerPayload + 1, typeMarker}
)

// patternOffset is the offset of the patterns in a frame: behind the checksum.
const patternOffset = 4

// evidence describes the bytes behind the last good frame.
type evidence struct {
	synced int64 // the greatest durable offset that a frame there proves
	end    int64 // behind the last byte that is not zero
}

// findEvidence reads a segment from offset from to its size. Batch headers and
// markers count when they begin at offset after or later. Their checksums cover
// segment and offset, so neither old bytes nor records are taken for one.
func findEvidence(r io.ReaderAt, seed uint32, from, after, size int64) (evidence, error) {
	e := evidence{end: from}
	// Each window overlaps the next one by all but one byte of the longest frame.
	buf := make([]byte, min(scanBuffer+batchSize-1, size-from))
	for off := from; off < size; off += scanBuffer {
		b := buf[:min(int64(len(buf)), size-off)]
		if n, err := r.ReadAt(b, off); n < len(b) {
			return evidence{}, err
		}
		if n := len(bytes.TrimRight(b, "\x00")); n > 0 {
			e.end = max(e.end, off+int64(n))
		} else {
			continue
		}
		for _, pattern := range [][]byte{batchPattern, markerPattern} {
			for at := 0; ; at++ {
				hit := bytes.Index(b[at:], pattern)
				if hit < 0 {
					break
				}
				at += hit
				if start := at - patternOffset; start >= 0 && off+int64(start) >= after {
					e.synced = max(e.synced, provenDurable(b[start:], seed, off+int64(start)))
				}
			}
		}
	}
	return e, nil
}

// provenDurable returns the offset below which the log's own frame at off proves
// the segment durable, or 0 if there is no such frame.
func provenDurable(b []byte, seed uint32, off int64) int64 {
	f, reason := parseFrame(b, seed, off)
	if reason != "" {
		return 0
	}
	if f.Type == typeBatch {
		return parseBatchHeader(f.Payload).synced
	}
	return int64(binary.BigEndian.Uint64(f.Payload))
}
