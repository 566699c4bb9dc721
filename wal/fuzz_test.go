package wal_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"testing"

	"github.com/kvorum/kvorum/wal"
	"github.com/kvorum/kvorum/wal/crashfs"
)

// FuzzOpen puts arbitrary frames behind the header of a sealed segment, or of
// the tail. Open must refuse, or give a log of which every record can be read.
func FuzzOpen(f *testing.F) {
	opts := func(fsys wal.FS) wal.Options {
		o := testOptions(fsys)
		o.MaxSegmentSize = 16 << 10
		return o
	}
	disk := newFS(f)
	w := mustOpen(f, opts(disk))
	mustAppend(f, w, 1, batch(1, 0, 10, 0))
	mustAppend(f, w, 3, batch(3, 0, 3000))
	mustAppend(f, w, 4, batch(4, 0, 15300))
	mustAppend(f, w, 5, batch(5, 0, 50))
	disk = disk.Crash(crashfs.CrashOptions{})
	mustClose(f, w)
	for id, last := range map[int]bool{1: false, 3: true} {
		file, err := disk.OpenRead(segmentPath(id))
		if err != nil {
			f.Fatal(err)
		}
		b := make([]byte, 4000)
		_, err = file.ReadAt(b, headerSize)
		if err := errors.Join(err, file.Close()); err != nil {
			f.Fatal(err)
		}
		f.Add(b, last)
		f.Add(b, !last)
		f.Add(b[batchSize:], last)
		f.Add(append(make([]byte, 100), b...), last)
	}
	f.Fuzz(func(t *testing.T, b []byte, tail bool) {
		if len(b) > 15<<10 {
			return
		}
		fsys := disk.Clone()
		id := 1
		if tail {
			id = 3
		}
		overwrite(t, fsys, segmentPath(id), headerSize, refit(bytes.Clone(b), id))
		w, err := wal.Open(testDir, opts(fsys))
		if err != nil {
			if !isRefusal(err) {
				t.Fatalf("got %v, want a refusal", err)
			}
			return
		}
		for i := w.FirstIndex(); i != 0 && i <= w.LastIndex(); i++ {
			if _, err := w.Get(i); err != nil {
				t.Errorf("Get(%d): %v", i, err)
			}
		}
		mustClose(t, w)
	})
}

// refit gives every frame of b whose length fits its checksum, as package wal
// documents it, so that the fuzzer reaches the content of frames.
func refit(b []byte, id int) []byte {
	table := crc32.MakeTable(crc32.Castagnoli)
	prefix := binary.BigEndian.AppendUint64(nil, uint64(id))
	prefix = append(prefix, testOwner.Node+"\x00"+testOwner.Cluster...)
	for off := 0; len(b)-off >= wal.HeaderSize; {
		end := off + 8 + int(binary.BigEndian.Uint32(b[off+4:]))
		if end <= off+8 || end > len(b) {
			break
		}
		sum := crc32.Checksum(binary.BigEndian.AppendUint64(prefix, uint64(headerSize+off)), table)
		binary.BigEndian.PutUint32(b[off:], crc32.Update(sum, table, b[off+4:end]))
		off = end
	}
	return b
}
