package fsm_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"runtime"
	"slices"
	"sync"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/fsm"
	"github.com/kvorum/kvorum/internal/wire"
	"github.com/kvorum/kvorum/kv"
)

// TestSnapshot_History shows that a snapshot has all of the history, also that of a key
// with more versions than a block has room for.
func TestSnapshot_History(t *testing.T) {
	f := newFSM(t)
	mustApply(t, f, 1, 0, fsm.HistoryRequest())
	const versions = 100
	for i := range uint64(versions) {
		mustApply(t, f, i+2, 0, putCmd("hot", string(bytes.Repeat([]byte{byte(i)}, 10_000))), putCmd(fmt.Sprint("k", i), ""), delCmd(fmt.Sprint("k", i/2)))
	}
	mustApply(t, f, versions+2, 0, fsm.CompactRequest(20), checkpointCmd)
	snapshot := snapshotOf(t, f)
	restored := newFSM(t)
	mustRestore(t, restored, snapshot)
	mustApply(t, f, versions+3, 0, checkpointCmd)
	mustApply(t, restored, versions+3, 0, checkpointCmd)
	if a, b := newestHash(t, f), newestHash(t, restored); a != b {
		t.Errorf("got the hash %+v, want %+v", b, a)
	}
	for revision := uint64(19); revision <= f.Revision()+1; revision++ {
		a, err := f.View(revision)
		b, restoredErr := restored.View(revision)
		if kv.Classify(err) != kv.Classify(restoredErr) || (err == nil) != (revision >= 20 && revision <= f.Revision()) {
			t.Fatalf("revision %d: got %v and %v", revision, err, restoredErr)
		}
		if err != nil {
			continue
		}
		if want, got := slices.Collect(a.Ascend(kv.All())), slices.Collect(b.Ascend(kv.All())); !slices.EqualFunc(got, want, equal) {
			t.Errorf("revision %d: got %d items, want %d", revision, len(got), len(want))
		}
		_, _ = a.Close(), b.Close()
	}
	if got := snapshotOf(t, restored); len(got) < len(snapshot) {
		t.Errorf("the restored state's snapshot has %d bytes, want %d", len(got), len(snapshot))
	}
}

func TestSnapshot_Golden(t *testing.T) {
	f := newFSM(t)
	f.Apply(entry(1, 1, 1_700_000_000_000_000_000, putCmd("a", "1"), putCmd("b", "two"), putCmd("gone", ""), retireCmd("n1.x"), retireCmd("n2.y")))
	f.Apply(entry(300, 2, 1_600_000_000_000_000_000, putCmd("a", "1'"), putCmd("\x00\xff", ""), delCmd("gone")))
	checkGolden(t, "snapshot-v2.golden", snapshotOf(t, f))

	restored := newFSM(t)
	mustRestore(t, restored, golden(t, "snapshot-v2.golden"))
	want := []kv.Item{
		{Key: "\x00\xff", CreateRevision: 5, ModRevision: 5, Version: 1},
		{Key: "a", Value: []byte("1'"), CreateRevision: 1, ModRevision: 4, Version: 2},
		{Key: "b", Value: []byte("two"), CreateRevision: 2, ModRevision: 2, Version: 1},
	}
	if got := itemsOf(t, restored); !slices.EqualFunc(got, want, equal) {
		t.Errorf("got items %v, want %v", got, want)
	}
	if restored.AppliedIndex() != 300 || restored.AppliedTerm() != 2 || restored.Revision() != 6 || restored.Clock() != 1_700_000_000_000_000_000 {
		t.Errorf("got index %d, term %d, revision %d, clock %d", restored.AppliedIndex(), restored.AppliedTerm(), restored.Revision(), restored.Clock())
	}
	if !restored.Retired("n1.x") || !restored.Retired("n2.y") {
		t.Error("retired ids are missing")
	}
}

// TestSnapshot_Large writes and restores many blocks, and items larger than a block.
func TestSnapshot_Large(t *testing.T) {
	f := newFSM(t)
	for i := range 40 {
		mustApply(t, f, uint64(i+1), 0, putCmd(fmt.Sprintf("k%d", i), string(bytes.Repeat([]byte{byte(i)}, i*20_000))))
	}
	snapshot := snapshotOf(t, f)
	if got := len(blocksOf(t, snapshot)); got < 20 {
		t.Errorf("got %d blocks, want many", got)
	}
	restored := newFSM(t)
	mustRestore(t, restored, snapshot)
	if !bytes.Equal(snapshotOf(t, restored), snapshot) {
		t.Error("the restored state's snapshot differs")
	}
	if restored.Size() != f.Size() {
		t.Errorf("got size %d, want %d", restored.Size(), f.Size())
	}
}

func TestRestore_DiscardsOldState(t *testing.T) {
	f := newFSM(t)
	empty := snapshotOf(t, f)
	mustApply(t, f, 10, 99, putCmd("old", "state"), retireCmd("n1.x"))
	mustRestore(t, f, empty)
	if f.Len() != 0 || f.Retired("n1.x") || f.AppliedIndex() != 0 || f.Revision() != 0 || f.Clock() != 0 {
		t.Error("the old state is still there")
	}
	if got := mustApply(t, f, 1, 0, putCmd("k", "")); got[0].Revision != 1 {
		t.Errorf("got revision %d after the restore, want 1", got[0].Revision)
	}
}

// TestRestore_Damaged shows that Restore refuses a snapshot with any wrong bit, one that is
// cut at any byte, and one that bytes follow. The state stays as it was.
func TestRestore_Damaged(t *testing.T) {
	t.Run("Format2", func(t *testing.T) { restoreDamaged(t) })
	t.Run("Format3", func(t *testing.T) { restoreDamaged(t, fsm.HistoryRequest(), putCmd("a", "0")) })
	t.Run("Format4", func(t *testing.T) { restoreDamaged(t, once("key", add("n")), once("other", add("n"))) })
}

// restoreDamaged restores damaged snapshots of a state that these requests have made, and
// some more.
func restoreDamaged(t *testing.T, requests ...wire.Requests) {
	source := newFSM(t)
	mustApply(t, source, 5, 7, append(requests, putCmd("a", "1"), putCmd("b", "22"), delCmd("b"), retireCmd("n1.x"))...)
	good := snapshotOf(t, source)
	f := newFSM(t)
	mustApply(t, f, 3, 4, putCmd("mine", "kept"))
	before := snapshotOf(t, f)
	refused := func(what string, data []byte) {
		t.Helper()
		err := f.Restore(io.NopCloser(bytes.NewReader(data)))
		var versionErr *fsm.VersionError
		if !errors.Is(err, fsm.ErrMalformed) && !errors.As(err, &versionErr) {
			t.Errorf("%s: got %v, want ErrMalformed or a VersionError", what, err)
		}
		if !bytes.Equal(snapshotOf(t, f), before) {
			t.Fatalf("%s: the old state is gone", what)
		}
	}
	for i := range good {
		for bit := range 8 {
			bad := bytes.Clone(good)
			bad[i] ^= 1 << bit
			refused(fmt.Sprintf("bit %d of byte %d flipped", bit, i), bad)
		}
		refused(fmt.Sprintf("cut to %d of %d bytes", i, len(good)), good[:i])
	}
	refused("a byte more", append(bytes.Clone(good), 0))
	refused("twice", append(bytes.Clone(good), good...))
	mustRestore(t, f, good)
}

// TestRestore_Inconsistent shows that Restore refuses damage after which every block's own
// checksum is right.
func TestRestore_Inconsistent(t *testing.T) {
	source := newFSM(t)
	mustApply(t, source, 5, 7, putCmd("a", "1"), putCmd("b", "22"))
	good := snapshotOf(t, source)
	blocks := blocksOf(t, good)
	header, items, end := blocks[0], blocks[1], blocks[2]
	other := bytes.Clone(items)
	other[bytes.IndexByte(other, '1')] = '9'
	more := bytes.Clone(header)
	more[5+4*8+7]++ // the lowest byte of the number of items
	more = resum(more)
	descending := resum(append([]byte{items[0], 0, 0, 0, 12}, "\x01b\x00\x01\x01\x01\x01a\x00\x02\x02\x01\x00\x00\x00\x00"...))
	future := resum(append([]byte{items[0], 0, 0, 0, 12}, "\x01a\x00\x01\x01\x01\x01b\x00\x03\x03\x01\x00\x00\x00\x00"...))

	for _, tt := range []struct {
		name   string
		blocks [][]byte
	}{
		{"NoHeader", [][]byte{items, end}},
		{"TwoHeaders", [][]byte{header, header, items, end}},
		{"NoItems", [][]byte{header, end}},
		{"NoEnd", [][]byte{header, items}},
		{"TwoEnds", [][]byte{header, items, end, end}},
		{"Twice", [][]byte{header, items, items, end}},
		{"OtherItems", [][]byte{header, resum(other), end}},
		{"OtherValue", [][]byte{header, resum(other), reseal(preamble, end, header, resum(other))}}, // only the state hash is wrong
		{"Descending", [][]byte{header, descending, reseal(preamble, end, header, descending)}},
		{"RevisionOverHeader", [][]byte{header, future, reseal(preamble, end, header, future)}},
		{"FewerThanEndSays", [][]byte{header, reseal(preamble, end, header)}},
		{"FewerThanHeaderSays", [][]byte{more, items, reseal(preamble, end, more, items)}},
		{"UnknownKind", [][]byte{header, resum(append([]byte{9}, items[1:]...)), end}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			data := append([]byte(preamble), slices.Concat(tt.blocks...)...)
			if err := newFSM(t).Restore(io.NopCloser(bytes.NewReader(data))); !errors.Is(err, fsm.ErrMalformed) {
				t.Errorf("got %v, want ErrMalformed", err)
			}
		})
	}
	// The helpers can also make good snapshots.
	rebuilt := append([]byte(preamble), slices.Concat(header, resum(items), reseal(preamble, end, header, items))...)
	if !bytes.Equal(rebuilt, good) {
		t.Errorf("rebuilt\n%x, want\n%x", rebuilt, good)
	}
}

func TestRestore_OtherVersion(t *testing.T) {
	f := newFSM(t)
	for _, version := range []byte{1, 5} {
		snapshot := snapshotOf(t, f)
		snapshot[len(preamble)-1] = version
		err := f.Restore(io.NopCloser(bytes.NewReader(snapshot)))
		var got *fsm.VersionError
		if want := (fsm.VersionError{What: "snapshot format", Version: version, Supported: 4}); !errors.As(err, &got) || *got != want {
			t.Errorf("got %v, want %v", err, &want)
		}
	}
}

// TestRestore_HugeLength shows that a length in a snapshot does not determine how much
// memory is allocated.
func TestRestore_HugeLength(t *testing.T) {
	data := append([]byte(preamble), 1, 0xff, 0xff, 0xff, 0xff)
	f := newFSM(t)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if err := f.Restore(io.NopCloser(bytes.NewReader(data))); !errors.Is(err, fsm.ErrMalformed) {
		t.Errorf("got %v, want ErrMalformed", err)
	}
	runtime.ReadMemStats(&after)
	if got, limit := after.TotalAlloc-before.TotalAlloc, uint64(8<<20); got > limit {
		t.Errorf("got %d bytes allocated, want at most %d", got, limit)
	}
}

func TestRestore_ReadError(t *testing.T) {
	broken := errors.New("broken disk")
	f := newFSM(t)
	snapshot := snapshotOf(t, f)
	for n := range len(snapshot) + 1 {
		r := io.MultiReader(bytes.NewReader(snapshot[:n]), errReader{broken})
		if err := f.Restore(io.NopCloser(r)); !errors.Is(err, broken) {
			t.Errorf("error after %d bytes: got %v, want it", n, err)
		}
	}
}

func TestPersist_FailingSink(t *testing.T) {
	full, other := errors.New("disk full"), errors.New("other")
	f := newFSM(t)
	mustApply(t, f, 1, 0, putCmd("k", "v"))
	size := len(snapshotOf(t, f))
	for _, tt := range []struct {
		name string
		sink memSink
	}{
		{"FirstWrite", memSink{writeErr: full}},
		{"LastWrite", memSink{writeErr: full, room: size - 1}},
		{"Close", memSink{closeErr: full}},
		{"CancelToo", memSink{writeErr: full, cancelErr: other}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, err := f.Snapshot()
			if err != nil {
				t.Fatal(err)
			}
			defer s.Release()
			if err := s.Persist(&tt.sink); !errors.Is(err, full) {
				t.Errorf("got %v, want %v", err, full)
			}
			if !tt.sink.cancelled {
				t.Error("the sink was not cancelled")
			}
			if tt.sink.closeErr == nil && tt.sink.closed {
				t.Error("the sink was closed, which keeps a broken snapshot")
			}
		})
	}
}

func TestPersist_Released(t *testing.T) {
	s, err := newFSM(t).Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	s.Release()
	var sink memSink
	if err := s.Persist(&sink); err == nil || !sink.cancelled {
		t.Errorf("got %v, cancelled %v, want an error and a cancelled sink", err, sink.cancelled)
	}
}

// TestSnapshot_WhileApplying writes snapshots while entries are applied. Each has exactly
// the state at its index.
func TestSnapshot_WhileApplying(t *testing.T) {
	f := newFSM(t)
	var wg sync.WaitGroup
	const entries, every = 600, 50
	for i := range uint64(entries) {
		index := i + 1
		// Entry i sets the key i%97 and deletes i%13, so that the keys show the index.
		f.Apply(entry(index, 1, int64(index), putCmd(fmt.Sprintf("p%02d", i%97), fmt.Sprint(index)), delCmd(fmt.Sprintf("p%02d", i%13))))
		if index%every != 0 {
			continue
		}
		s, err := f.Snapshot()
		if err != nil {
			t.Fatal(err)
		}
		want := make(map[string]kv.Item)
		for _, it := range itemsOf(t, f) {
			it.Value = bytes.Clone(it.Value)
			want[it.Key] = it
		}
		revision := f.Revision()
		wg.Go(func() {
			defer s.Release()
			checkSnapshotState(t, s, index, revision, want)
		})
	}
	wg.Wait()
}

func checkSnapshotState(t *testing.T, s raft.FSMSnapshot, index, revision uint64, want map[string]kv.Item) {
	var sink memSink
	if err := s.Persist(&sink); err != nil {
		t.Error(err)
		return
	}
	f := fsm.New(fsm.Config{})
	if err := f.Restore(io.NopCloser(&sink)); err != nil {
		t.Error(err)
		return
	}
	if f.AppliedIndex() != index || f.Revision() != revision || f.Clock() != int64(index) || f.Len() != len(want) {
		t.Errorf("got index %d, revision %d, clock %d, %d keys, want %d, %d, %d, %d",
			f.AppliedIndex(), f.Revision(), f.Clock(), f.Len(), index, revision, index, len(want))
	}
	for k, it := range want {
		if got, ok := f.Get(k); !ok || !equal(got, it) {
			t.Errorf("index %d, Get(%q): got %v %v, want %v", index, k, got, ok, it)
		}
	}
}

// TestRestore_WhileReading shows that readers see the state before a restore or the one
// after it, and no mixture.
func TestRestore_WhileReading(t *testing.T) {
	const keys = 50
	snapshots := make([][]byte, 2)
	for i := range snapshots {
		f := newFSM(t)
		for k := range keys + i {
			mustApply(t, f, uint64(k+1), 0, putCmd(fmt.Sprintf("k%02d", k), fmt.Sprint(i)))
		}
		snapshots[i] = snapshotOf(t, f)
	}
	f := newFSM(t)
	mustRestore(t, f, snapshots[0])
	done := make(chan struct{})
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if it, revision, ok := f.GetAt("k00"); !ok || string(it.Value) != fmt.Sprint(revision-keys) {
					t.Errorf("a key of both states is %s (%v) at revision %d", it.Value, ok, revision)
				}
				v := mustView(t, f)
				n := v.Count(kv.All())
				if v.Revision() != uint64(n) {
					t.Errorf("got revision %d with %d keys", v.Revision(), n)
				}
				for it := range v.Ascend(kv.All()) {
					if string(it.Value) != fmt.Sprint(n-keys) {
						t.Errorf("%s is %s in a view of state %d", it.Key, it.Value, n-keys)
					}
				}
				_ = v.Close()
			}
		})
	}
	for i := range 200 {
		mustRestore(t, f, snapshots[i%2])
	}
	close(done)
	wg.Wait()
}

func FuzzRestore(f *testing.F) {
	source := fsm.New(fsm.Config{})
	source.Apply(entry(5, 1, 7, putCmd("a", "1"), putCmd("b", "22"), retireCmd("n1.x")))
	f.Add(snapshotOf(f, source))
	f.Add(golden(f, "snapshot-v3.golden"))
	f.Add(golden(f, "snapshot-v4.golden"))
	f.Fuzz(func(t *testing.T, data []byte) {
		// Correct the checksums, so that the rest is decoded.
		if blocks, ok := parseBlocks(data); ok && len(blocks) > 0 {
			for i := range blocks {
				blocks[i] = resum(blocks[i])
			}
			if before, end := blocks[:len(blocks)-1], blocks[len(blocks)-1]; len(end) > 17 {
				blocks[len(blocks)-1] = reseal(string(data[:len(preamble)]), end, before...)
			}
			data = append(data[:len(preamble):len(preamble)], slices.Concat(blocks...)...)
		}
		into := fsm.New(fsm.Config{})
		if err := into.Restore(io.NopCloser(bytes.NewReader(data))); err != nil {
			checkDecodeError(t, err)
			return
		}
		again := fsm.New(fsm.Config{})
		mustRestore(t, again, snapshotOf(t, into))
		if got, want := snapshotOf(t, again), snapshotOf(t, into); !bytes.Equal(got, want) {
			t.Errorf("got\n%x, want\n%x", got, want)
		}
	})
}

const preamble = "KVSNAP\r\x02"

// blocksOf cuts a snapshot into its blocks, frames included.
func blocksOf(t *testing.T, snapshot []byte) [][]byte {
	t.Helper()
	blocks, ok := parseBlocks(snapshot)
	if !ok {
		t.Fatalf("not a snapshot: %x", snapshot)
	}
	return blocks
}

func parseBlocks(snapshot []byte) (blocks [][]byte, ok bool) {
	if !bytes.HasPrefix(snapshot, []byte(preamble[:7])) || len(snapshot) < len(preamble) {
		return nil, false
	}
	rest := snapshot[len(preamble):]
	for len(rest) > 0 {
		if len(rest) < 9 {
			return nil, false
		}
		n := 9 + int(binary.BigEndian.Uint32(rest[1:]))
		if n > len(rest) {
			return nil, false
		}
		blocks, rest = append(blocks, rest[:n:n]), rest[n:]
	}
	return blocks, true
}

// resum returns the block with the right length and checksum.
func resum(block []byte) []byte {
	block = bytes.Clone(block)
	body := block[:len(block)-4]
	binary.BigEndian.PutUint32(body[1:], uint32(len(body)-5))
	return binary.BigEndian.AppendUint32(body, checksum(body))
}

// reseal returns the end block with the checksum of a snapshot that has head and these blocks
// before it.
func reseal(head string, end []byte, before ...[]byte) []byte {
	end = bytes.Clone(end)
	binary.BigEndian.PutUint32(end[len(end)-8:], checksum(append([]byte(head), slices.Concat(before...)...)))
	return resum(end)
}

func checksum(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }

type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }

// TestSnapshot_Closed shows that a closed state machine gives no snapshot: raft would give
// it the index of entries that are not in it.
func TestSnapshot_Closed(t *testing.T) {
	f := fsm.New(fsm.Config{})
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Snapshot(); !errors.Is(err, fsm.ErrClosed) {
		t.Errorf("got %v, want ErrClosed", err)
	}
}
