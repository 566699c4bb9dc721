package wal_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"

	"github.com/kvorum/kvorum/wal"
	"github.com/kvorum/kvorum/wal/crashfs"
)

func sameRecord(a, b *wal.Record) bool {
	return a.Type == b.Type && bytes.Equal(a.Key, b.Key) && bytes.Equal(a.Value, b.Value) &&
		a.ExpiresAt == b.ExpiresAt && a.Sequence == b.Sequence && a.Timestamp == b.Timestamp
}

func drawRecord(t *rapid.T) *wal.Record {
	return &wal.Record{
		Type:      rapid.SampledFrom([]byte{wal.RecordTypePut, wal.RecordTypeDelete}).Draw(t, "type"),
		Key:       rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "key"),
		Value:     rapid.SliceOfN(rapid.Byte(), 0, 80).Draw(t, "value"),
		ExpiresAt: rapid.Int64().Draw(t, "expires"),
		Sequence:  rapid.Uint64().Draw(t, "sequence"),
		Timestamp: rapid.Int64().Draw(t, "timestamp"),
	}
}

// TestRecord_RoundTrip shows that records and batches survive their encoding,
// and that none survives being cut or grown by a byte.
func TestRecord_RoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		records := rapid.SliceOfN(rapid.Custom(drawRecord), 0, 5).Draw(t, "records")
		for _, r := range records {
			payload := r.Encode()
			if got, err := wal.DecodeRecord(r.Type, payload); err != nil || !sameRecord(got, r) {
				t.Fatalf("got %+v, %v, want %+v", got, err, r)
			}
			for _, bad := range [][]byte{payload[:len(payload)-1], append(bytes.Clone(payload), 0)} {
				if _, err := wal.DecodeRecord(r.Type, bad); !errors.Is(err, wal.ErrInvalidFrame) {
					t.Fatalf("record of %d bytes instead of %d: got %v", len(bad), len(payload), err)
				}
			}
		}
		batch := wal.EncodeBatch(records)
		got, err := wal.DecodeBatch(batch)
		if err != nil || len(got) != len(records) {
			t.Fatalf("batch: got %d records, %v, want %d", len(got), err, len(records))
		}
		for i := range got {
			if !sameRecord(got[i], records[i]) {
				t.Fatalf("batch: record %d: got %+v, want %+v", i, got[i], records[i])
			}
		}
		for _, bad := range [][]byte{batch[:len(batch)-1], append(bytes.Clone(batch), 0)} {
			if _, err := wal.DecodeBatch(bad); !errors.Is(err, wal.ErrInvalidFrame) {
				t.Fatalf("batch of %d bytes instead of %d: got %v", len(bad), len(batch), err)
			}
		}
	})
}

// TestWrite shows the methods that write single records: a record gets the log's next
// index as its sequence.
func TestWrite(t *testing.T) {
	w, err := wal.Open("log", wal.Options{FS: crashfs.New()})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if err := w.WritePut([]byte("k"), []byte("v"), 7); err != nil {
		t.Fatal(err)
	}
	if err := w.WriteDelete([]byte("k")); err != nil {
		t.Fatal(err)
	}
	want := []*wal.Record{
		{Type: wal.RecordTypePut, Key: []byte("k"), Value: []byte("v"), ExpiresAt: 7, Sequence: 1},
		{Type: wal.RecordTypeDelete, Key: []byte("k"), Sequence: 2},
	}
	for i, r := range want {
		frame, err := w.Get(uint64(i + 1))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := wal.DecodeRecord(frame.Type, frame.Payload); err != nil || !sameRecord(got, r) {
			t.Errorf("record %d: got %+v, %v, want %+v", i+1, got, err, r)
		}
	}
}

// TestNoSync shows which records an unsynced log keeps: all when the process dies, and
// all up to the last Sync when the power fails. None is damaged, and there is never a
// hole, also after rotations and truncations.
func TestNoSync(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 1))
		files := crashfs.New()
		opts := wal.Options{FS: files, NoSync: true, MaxSegmentSize: 2048}
		w, err := wal.Open("log", opts)
		if err != nil {
			t.Fatal(err)
		}
		first, last, synced := uint64(1), uint64(0), uint64(0)
		for range 60 {
			switch n := rng.IntN(10); {
			case n < 7:
				if err := w.Append(last+1, []wal.Frame{{Type: wal.RecordTypePut, Payload: payloadOf(last + 1)}}); err != nil {
					t.Fatalf("seed %d: append: %v", seed, err)
				}
				last++
			case n < 9:
				if err := w.Sync(); err != nil {
					t.Fatalf("seed %d: sync: %v", seed, err)
				}
				synced = last
			case last > first:
				first += rng.Uint64N(last - first)
				if err := w.TruncateFront(first); err != nil {
					t.Fatalf("seed %d: truncate: %v", seed, err)
				}
			}
		}
		killed, lost := files.Clone(), files.Crash(crashfs.CrashOptions{Keep: rng.Float64(), Rand: rng})
		files.Halt()
		_ = w.Close() // its files are gone
		checkNoSync(t, seed, "killed", killed, opts, first, last, last)
		checkNoSync(t, seed, "power lost", lost, opts, first, synced, last)
	}
}

func payloadOf(index uint64) []byte { return bytes.Repeat([]byte{byte(index)}, int(100+index%50)) }

// checkNoSync opens the rest of a log and checks that it holds the records from first
// to at least atLeast, and no others than those that were written.
func checkNoSync(t *testing.T, seed uint64, what string, files *crashfs.FS, opts wal.Options, first, atLeast, atMost uint64) {
	t.Helper()
	opts.FS = files
	w, err := wal.Open("log", opts)
	if err != nil {
		t.Fatalf("seed %d: %s: %v", seed, what, err)
	}
	defer w.Close()
	if atLeast >= first && w.FirstIndex() != first {
		t.Fatalf("seed %d: %s: begins at %d, want %d", seed, what, w.FirstIndex(), first)
	}
	if got := w.LastIndex(); got > atMost || (got < atLeast && atLeast >= first) {
		t.Fatalf("seed %d: %s: ends at %d, want %d to %d", seed, what, got, atLeast, atMost)
	}
	for i := w.FirstIndex(); i != 0 && i <= w.LastIndex(); i++ {
		if frame, err := w.Get(i); err != nil || !bytes.Equal(frame.Payload, payloadOf(i)) {
			t.Fatalf("seed %d: %s: record %d: %v", seed, what, i, err)
		}
	}
}
