package raftstore_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path"
	"strings"
	"testing"

	"github.com/hashicorp/raft"
	"github.com/kvorum/kvorum/cluster/raftstore"
	"github.com/kvorum/kvorum/internal/sealed"
	"github.com/kvorum/kvorum/wal"
	"github.com/kvorum/kvorum/wal/crashfs"
)

// TestOpen_CrashAtEveryOperation loses power at each operation of a first Open, of a vote,
// an append and a snapshot, and keeps none, some or all of the unsynced changes: the
// stores open again, and have all acknowledged entries.
func TestOpen_CrashAtEveryOperation(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	for at, more := 0, true; more; at++ {
		m := newMember(crashfs.New())
		if err := errors.Join(m.fs.MkdirAll(dir), m.fs.SyncDir(".")); err != nil {
			t.Fatal(err)
		}
		crashed, count, acknowledged, after := m.fs, 0, uint64(0), uint64(0)
		m.fs.SetHook(func(op crashfs.Op, _ string) error {
			if !op.Mutates() {
				return nil
			}
			if count++; count == at+1 {
				keep := []float64{0, 0.5, 0.9, 1}[random.IntN(4)]
				crashed, after = m.fs.Crash(crashfs.CrashOptions{Keep: keep, Rand: random}), acknowledged
			}
			return nil
		})
		m.mustOpen(t)
		for i := uint64(1); i <= 3; i++ {
			mustStore(t, m.Log, entries(i, i, 1))
			acknowledged = i
		}
		mustTake(t, m.Snapshots, 2, 1, []byte("state"))
		m.fs.SetHook(nil)
		m.close()
		if more = count > at; !more {
			crashed, after = m.fs.Crash(crashfs.CrashOptions{}), acknowledged
		}
		again := newMember(crashed)
		if err := again.open(); err != nil {
			t.Fatalf("crash at operation %d: %v", at, err)
		}
		if last, err := again.Log.LastIndex(); err != nil || last < after {
			t.Fatalf("crash at operation %d: the log ends at %d, %v, and %d was acknowledged", at, last, err, after)
		}
		again.close()
	}
}

// TestOpen_RefusesMissingStore removes each store of a member with data in all of them:
// Open refuses the directory and names the store, and succeeds once the store is there
// again. A missing floor is refused too, since without it a lost store would look like
// one that was never made.
func TestOpen_RefusesMissingStore(t *testing.T) {
	m := openNew(t)
	mustStore(t, m.Log, entries(1, 5, 1))
	mustTake(t, m.Snapshots, 3, 1, []byte("state"))
	m.crash()
	for _, tt := range []struct{ lost, named string }{
		{"data/wal", wal.ManifestName},
		{"data/wal/" + wal.ManifestName, wal.ManifestName},
		{"data/stable", "raft.db"},
		{"data/stable/raft.db", "raft.db"},
		{"data/snapshots", "snapshot at index 3 of term 1"},
		{"data/floor.json", "floor.json"},
	} {
		without := newMember(m.fs.Clone())
		if err := without.fs.Rename(tt.lost, "aside"); err != nil {
			t.Fatal(err)
		}
		var damage *wal.CorruptionError
		if err := without.open(); !errors.As(err, &damage) || !strings.Contains(err.Error(), tt.named) {
			t.Errorf("without %s: got %v, want a CorruptionError that names %s", tt.lost, err, tt.named)
		}
		without.close()
		if n := without.fs.OpenFiles(); n != 0 {
			t.Errorf("without %s: %d files left open", tt.lost, n)
		}
		if err := errors.Join(without.fs.RemoveAll(tt.lost), without.fs.Rename("aside", tt.lost)); err != nil {
			t.Fatal(err)
		}
		if err := without.open(); err != nil {
			t.Errorf("with %s again: %v", tt.lost, err)
		}
		without.close()
	}
}

// TestOpen_RefusesNewerFormat: a file of a newer format is refused and not changed. The
// error names the file, its version, and the known version.
func TestOpen_RefusesNewerFormat(t *testing.T) {
	m := openNew(t)
	id := mustTake(t, m.Snapshots, 7, 2, nil)
	m.crash()
	for name, format := range map[string]int{
		floorFile:                             floorFormat,
		path.Join(snapshotsDir, id, metaFile): metaFormat,
	} {
		newer := newMember(m.fs.Clone())
		if err := sealed.Write(newer.fs, name, format+1, map[string]string{"zone": "a"}); err != nil {
			t.Fatal(err)
		}
		opened := newer.open()
		_, checked := raftstore.Check(newer.fs, dir)
		for _, err := range []error{opened, checked} {
			var version *wal.VersionError
			if !errors.As(err, &version) || version.File != name || version.Found != uint32(format)+1 || version.Supported != uint32(format) {
				t.Errorf("%s: got %v", name, err)
				continue
			}
			for _, fact := range []string{name, fmt.Sprintf("version %d,", format+1), fmt.Sprintf("version %d", format)} {
				if !strings.Contains(err.Error(), fact) {
					t.Errorf("%s: %q does not say %q", name, err, fact)
				}
			}
		}
		var left map[string]string
		if err := sealed.Read(newer.fs, name, format+1, &left); err != nil || left["zone"] != "a" {
			t.Errorf("%s: holds %v now, %v", name, left, err)
		}
	}
}

// TestOpen_RestoresNewest: the caller's Restore gets the state, and its error is Open's and
// leaves no file open.
func TestOpen_RestoresNewest(t *testing.T) {
	m := openNew(t)
	mustTake(t, m.Snapshots, 3, 1, []byte("older"))
	mustTake(t, m.Snapshots, 5, 1, []byte("newest"))
	m.crash()
	for _, want := range []error{nil, errFault} {
		var got []byte
		m.options.Restore = func(_ context.Context, meta *raft.SnapshotMeta, state io.Reader) error {
			var err error
			got, err = io.ReadAll(state)
			if meta.Index != 5 || meta.Size != int64(len(got)) {
				t.Errorf("got the snapshot %+v", meta)
			}
			return errors.Join(err, want)
		}
		if err := m.open(); !errors.Is(err, want) || string(got) != "newest" {
			t.Errorf("got %q, %v, want %v", got, err, want)
		}
		m.close()
		if n := m.fs.OpenFiles(); n != 0 {
			t.Errorf("%d files left open", n)
		}
	}
}

// TestOpen_EndsWithItsContext: an Open whose context has ended checks no log.
func TestOpen_EndsWithItsContext(t *testing.T) {
	m := openNew(t)
	mustStore(t, m.Log, entries(1, 2000, 1))
	m.crash()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	opts := m.options
	opts.FS, opts.OnFatal = m.fs, m.fatals.fail
	if _, err := raftstore.Open(ctx, opts); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
	if n := m.fs.OpenFiles(); n != 0 {
		t.Errorf("%d files left open", n)
	}
}

// TestOpen_ReportsWrittenBytes: Options.Wrote is called with the bytes and the snapshot.
func TestOpen_ReportsWrittenBytes(t *testing.T) {
	m := newMember(crashfs.New())
	written := map[point]int{}
	m.options.Wrote = func(index, term uint64, n int) error {
		written[point{index, term}] += n
		return nil
	}
	m.mustOpen(t)
	defer m.close()
	mustTake(t, m.Snapshots, 3, 1, make([]byte, 1000))
	mustTake(t, m.Snapshots, 5, 2, make([]byte, 70))
	if len(written) != 2 || written[point{3, 1}] != 1000 || written[point{5, 2}] != 70 {
		t.Errorf("got %v", written)
	}
	if newest, all := m.Snapshots.Sizes(); newest != 70 || all != 1070 {
		t.Errorf("sizes: got %d and %d", newest, all)
	}
}

// TestOpen_WroteEndsSnapshot: an error of Options.Wrote ends the snapshot, of which nothing remains.
func TestOpen_WroteEndsSnapshot(t *testing.T) {
	m := newMember(crashfs.New())
	full := errors.New("no room for the rest")
	m.options.Wrote = func(index, _ uint64, _ int) error {
		if index == 5 {
			return full
		}
		return nil
	}
	m.mustOpen(t)
	defer m.close()
	mustTake(t, m.Snapshots, 3, 1, make([]byte, 100))
	if _, err := take(m.Snapshots, 5, 2, make([]byte, 70)); !errors.Is(err, full) {
		t.Errorf("got %v, want %v", err, full)
	}
	if newest := newestOf(t, m.Snapshots); newest.Index != 3 {
		t.Errorf("the newest snapshot is of index %d", newest.Index)
	}
	if _, all := m.Snapshots.Sizes(); all != 100 {
		t.Errorf("the snapshots have %d bytes", all)
	}
}
