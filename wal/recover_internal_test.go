package wal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// segmentBuilder writes frames that no log would write: their checksums are right,
// with any content.
type segmentBuilder struct {
	segmentHeader
	frames []byte
}

func newBuilder(id segmentID, first uint64) *segmentBuilder {
	return &segmentBuilder{segmentHeader: segmentHeader{id: id, first: first, size: segmentHeaderSize}}
}

func (b *segmentBuilder) end() int64 { return segmentHeaderSize + int64(len(b.frames)) }

func (b *segmentBuilder) frame(typ byte, payload []byte) *segmentBuilder {
	b.frames = appendFrame(b.frames, segmentSeed(b.id, b.owner), b.end(), typ, payload)
	return b
}

func (b *segmentBuilder) header(h batchHeader) *segmentBuilder {
	payload := h.encode()
	return b.frame(typeBatch, payload[:])
}

func (b *segmentBuilder) marker(synced int64) *segmentBuilder {
	return b.frame(typeMarker, binary.BigEndian.AppendUint64(nil, uint64(synced)))
}

// batch adds a good batch of records of ten bytes.
func (b *segmentBuilder) batch(first uint64, count int) *segmentBuilder {
	b.header(batchHeader{first: first, count: uint32(count), bytes: int64(count) * 19, synced: b.end()})
	for range count {
		b.frame(RecordTypeEntry, make([]byte, 10))
	}
	return b
}

// writeLog writes a log of the given files into a new directory.
func writeLog(t *testing.T, m manifest, segs ...*segmentBuilder) string {
	t.Helper()
	dir := t.TempDir()
	for _, b := range segs {
		data := append(b.encode(), b.frames...)
		if err := os.WriteFile(filepath.Join(dir, b.id.fileName()), data, filePerm); err != nil {
			t.Fatal(err)
		}
	}
	if err := writeManifest(OS(), dir, m); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestOpen_Contradictions opens logs of which every checksum is right. No crash leaves
// such a log, so none of it may be removed as a torn tail.
func TestOpen_Contradictions(t *testing.T) {
	good := func() *segmentBuilder { return newBuilder(1, 5).batch(5, 2) }
	at := good().end()
	tail := manifest{nextID: 9, segments: []segmentInfo{{id: 1, first: 5, last: 4, end: segmentHeaderSize}}}
	sealed := func(last uint64, end int64) manifest {
		return manifest{nextID: 9, segments: []segmentInfo{{id: 1, first: 5, sealed: true, last: last, end: end}}}
	}
	begins := func(first uint64) manifest { m := tail; m.first = first; return m }
	cases := map[string]struct {
		m      manifest
		seg    *segmentBuilder
		reason string // empty: it is good
	}{
		"good":                  {tail, good(), ""},
		"good, sealed":          {sealed(6, at), good(), ""},
		"good, cut in a batch":  {sealed(5, at-19), good(), ""},
		"good, begins later":    {begins(6), good(), ""},
		"index skipped":         {tail, good().batch(8, 1), "batch of index 8 where 7 follows"},
		"index again":           {tail, good().batch(5, 1), "batch of index 5 where 7 follows"},
		"record alone":          {tail, good().frame(RecordTypePut, nil), "outside of a batch"},
		"unknown type":          {tail, good().frame(0xF7, nil), "unknown type"},
		"type zero":             {tail, good().frame(0, nil), "unknown type"},
		"marker of the future":  {tail, good().marker(at + 1), "marker of a synced offset"},
		"marker of the header":  {tail, good().marker(3), "marker of a synced offset"},
		"marker too long":       {tail, good().frame(typeMarker, make([]byte, 9)), "unknown type"},
		"batch of the future":   {tail, good().header(batchHeader{first: 7, count: 1, bytes: 19, synced: at + 1}), "batch of a synced offset"},
		"empty batch":           {tail, good().header(batchHeader{first: 7, synced: at}), "batch size"},
		"batch of tiny records": {tail, good().header(batchHeader{first: 7, count: 3, bytes: 26, synced: at}), "batch size"},
		"batch in a batch": {tail, good().header(batchHeader{first: 7, count: 2, bytes: 75, synced: at}).
			frame(1, make([]byte, 10)).batch(8, 1), "inside a batch"},
		"batch too short": {tail, good().header(batchHeader{first: 7, count: 1, bytes: 30, synced: at}).
			frame(1, make([]byte, 10)), "batch size does not match its records"},
		"sealed too short":   {sealed(7, at), good(), "ends with index 6"},
		"sealed too long":    {sealed(5, at), good(), "ends with index 6"},
		"sealed in a frame":  {sealed(5, at-3), good(), "frame reaches beyond"},
		"begins after tail":  {begins(8), good(), "ends before index 8"},
		"begins at its end":  {begins(7), good(), "ends before index 7"},
		"begins before it":   {begins(4), good(), "first index is not in the first segment"},
		"begins after seal":  {manifest{first: 7, nextID: 9, segments: sealed(6, at).segments}, good(), "first index is not"},
		"header of another":  {tail, newBuilder(1, 6).batch(6, 1), "header says first index 6"},
		"id of the future":   {manifest{nextID: 1, segments: tail.segments}, good(), "out of range"},
		"sealed in its head": {sealed(6, 100), good(), "end offset is out of range"},
		"sealed beyond file": {sealed(6, at+1), good(), "shorter than its durable end"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w, err := Open(writeLog(t, c.m, c.seg), Options{})
			if err == nil {
				defer w.Close()
			}
			switch {
			case c.reason == "" && err != nil:
				t.Fatalf("got %v, want a log", err)
			case c.reason != "" && (!errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), c.reason)):
				t.Fatalf("got %v, want corruption: %s", err, c.reason)
			}
		})
	}
}

// TestOpen_MarkerInRecord tears a batch with a record whose payload is a marker that
// would be good at its place.
func TestOpen_MarkerInRecord(t *testing.T) {
	b := newBuilder(1, 1).batch(1, 1)
	start := b.end()
	inside := start + batchSize + HeaderSize
	marker := binary.BigEndian.AppendUint64(nil, uint64(inside))
	marker = appendFrame(nil, segmentSeed(1, Owner{}), inside, typeMarker, marker)
	b.header(batchHeader{first: 2, count: 1, bytes: HeaderSize + markerSize, synced: start})
	b.frame(RecordTypePut, marker)
	b.frames[len(b.frames)-markerSize-HeaderSize] ^= 1 // the record's checksum

	m := manifest{nextID: 2, segments: []segmentInfo{{id: 1, first: 1, end: segmentHeaderSize}}}
	w, err := Open(writeLog(t, m, b), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if got := w.LastIndex(); got != 1 {
		t.Fatalf("got last index %d, want the torn batch cut", got)
	}
}

// TestFindEvidence puts a marker at each place around the border between the
// windows in which a segment is read.
func TestFindEvidence(t *testing.T) {
	const from = 2000
	for _, shift := range []int64{-batchSize - 1, -batchSize, -markerSize, -9, -8, -4, -1, 0, 1, 50} {
		off := from + scanBuffer + shift
		data := make([]byte, 3*scanBuffer)
		copy(data[off:], appendFrame(nil, 7, off, typeMarker, binary.BigEndian.AppendUint64(nil, uint64(off))))
		for after, want := range map[int64]int64{from: off, off: off, off + 1: 0} {
			e, err := findEvidence(bytes.NewReader(data), 7, from, after, int64(len(data)))
			if err != nil || e.synced != want || e.end != off+markerSize {
				t.Errorf("marker at %d, looked for from %d: got %+v, %v; want %d", off, after, e, err, want)
			}
		}
	}
}
