package wal

import (
	"bytes"
	"testing"
)

// TestOpenFiles_DeletedWhileRead shows that the holder of a segment can read its file
// after it was deleted, also if the file was closed when it was deleted.
func TestOpenFiles_DeletedWhileRead(t *testing.T) {
	w, err := Open(t.TempDir(), Options{MaxSegmentSize: 8 << 10, CacheBytes: 1, MaxOpenSegments: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	payload := func(i uint64) []byte { return bytes.Repeat([]byte{byte(i)}, 5000) }
	for i := uint64(1); i <= 6; i++ {
		if err := w.Append(i, []Frame{{Type: 1, Payload: payload(i)}}); err != nil {
			t.Fatal(err)
		}
	}
	_, at, err := w.lookup(1)
	if err != nil {
		t.Fatal(err)
	}
	if at.seg.file.file != nil {
		t.Error("the first segment's file is open, though it is the least recently read")
	}
	if err := w.TruncateFront(6); err != nil {
		t.Fatal(err)
	}
	f, err := at.read()
	if err != nil || !bytes.Equal(f.Payload, payload(1)) {
		t.Errorf("got %d bytes, %v, want the record", len(f.Payload), err)
	}
	if err := at.seg.release(); err != nil {
		t.Error(err)
	}
	if got := w.Stats().OpenFiles; got > 2 {
		t.Errorf("%d files are open, want one and the one that is written to", got)
	}
}
