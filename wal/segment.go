package wal

import (
	"fmt"
	"io"
	"slices"
	"sync/atomic"
)

// growBytes is the number of zeros in bytes that are written behind a segment's data,
// so that a sync rarely has to write a new file size: 4 MiB.
const growBytes = 4 << 20

// zeros is the content for filling files. It is never written.
var zeros [256 << 10]byte

// segment is one file of the log.
//
// Invariant: every segment has at least one record, except while Append is
// about to write its first batch.
type segment struct {
	id    segmentID
	first uint64 // index of the first record
	path  string
	seed  uint32 // of its frames' checksums
	file  *segmentFile

	// refs counts the log's own reference and one for every read in progress.
	// The file is closed when refs drops to zero, and so never during a read.
	refs atomic.Int32

	// The fields below are guarded by WAL.mu and changed only by the holder of
	// WAL.writeLock, which may read them without WAL.mu.
	sealed  bool     // never written again
	marked  bool     // the last frame is a marker, so no other is needed
	offsets []uint32 // of each record's frame; record i of the log is at i-first
	end     int64    // offset of the next frame
	synced  int64    // all bytes below are durable; Invariant: synced <= end
	// savedEnd is the durable end in the manifest; it means nothing in a sealed
	// segment. Invariant: savedEnd <= synced.
	savedEnd int64
	size     int64 // of the file, in bytes
}

// next returns the index that follows the segment's last record.
func (s *segment) next() uint64 { return s.first + uint64(len(s.offsets)) }

// offset returns the offset of the frame of the record at index, or the segment's end
// if the segment does not hold the record.
func (s *segment) offset(index uint64) int64 {
	if i := index - s.first; i < uint64(len(s.offsets)) {
		return int64(s.offsets[i])
	}
	return s.end
}

// info returns the segment's description for the next manifest: the end of a sealed
// segment, or the durable end of a tail.
func (s *segment) info() segmentInfo {
	i := segmentInfo{id: s.id, first: s.first, sealed: s.sealed, last: s.next() - 1, end: s.end}
	if !s.sealed {
		i.last, i.end = s.first+s.recordsBelow(s.synced)-1, s.synced
	}
	return i
}

// recordsBelow returns the number of the segment's records that begin below an offset.
func (s *segment) recordsBelow(off int64) uint64 {
	n, _ := slices.BinarySearch(s.offsets, uint32(off))
	return uint64(n)
}

// acquire keeps the file open until release. The caller holds WAL.mu and has found
// the segment in WAL.segs, so the log's own reference still exists.
func (s *segment) acquire() { s.refs.Add(1) }

// release drops a reference, and closes the file with the last one.
func (s *segment) release() error {
	if s.refs.Add(-1) > 0 {
		return nil
	}
	return s.file.Close()
}

// fits returns ErrSegmentFull when a batch of this size in bytes, with a marker behind
// it, would make the segment longer than maxSize. (A new segment takes its first batch
// without a limit.)
func (s *segment) fits(bytes, maxSize int64) error {
	if s.end+bytes+markerSize > maxSize {
		return ErrSegmentFull
	}
	return nil
}

// encodeBatch appends to buf a batch for the segment's end, and returns buf and the
// offsets of the batch's records.
func (s *segment) encodeBatch(buf []byte, first uint64, frames []Frame, bytes int64) ([]byte, []uint32) {
	header := batchHeader{first: first, count: uint32(len(frames)), bytes: bytes, synced: s.synced}.encode()
	base := int64(len(buf))
	buf = appendFrame(buf, s.seed, s.end, typeBatch, header[:])
	offsets := make([]uint32, len(frames))
	for i := range frames {
		off := s.end + int64(len(buf)) - base
		offsets[i] = uint32(off)
		buf = appendFrame(buf, s.seed, off, frames[i].Type, frames[i].Payload)
	}
	return buf, offsets
}

// grow fills the file with zeros behind dataEnd, where the data that is about to be
// written will end. A marker and, up to maxSize, the next batches then fit. The sync
// after the data makes the zeros durable too. It returns the file's new size.
func (s *segment) grow(dataEnd, maxSize int64) (int64, error) {
	need := dataEnd + markerSize
	if need <= s.size {
		return s.size, nil
	}
	size := max(need, min(maxSize, (need+growBytes-1)/growBytes*growBytes))
	if err := fillZeros(s.file, max(s.size, dataEnd), size); err != nil {
		return 0, fmt.Errorf("grow %s: %w", s.path, err)
	}
	return size, nil
}

// fillZeros writes zeros to f from one offset up to another.
func fillZeros(f io.WriterAt, from, to int64) error {
	for from < to {
		n, err := f.WriteAt(zeros[:min(int64(len(zeros)), to-from)], from)
		if err != nil {
			return err
		}
		from += int64(n)
	}
	return nil
}
