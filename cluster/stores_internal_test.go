package cluster

import (
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/hashicorp/raft"
	"github.com/kvorum/kvorum/cluster/raftstore"
	"github.com/kvorum/kvorum/wal"
	"github.com/kvorum/kvorum/wal/crashfs"
)

// What package raftstore has below a data directory.
const (
	walDir           = "wal"
	stableDir        = "stable"
	stableFile       = "raft.db" // below stableDir
	snapshotsDir     = "snapshots"
	stateFile        = "state" // below a snapshot's directory
	unfinishedSuffix = ".tmp"  // of a snapshot's directory
	floorFile        = "floor.json"
)

// What the packages recovery and internal/nodeid have there.
const (
	noteFile    = "diverged.json"
	asidePrefix = "diverged-" // of the files of an incarnation; the incarnation and a dash follow
)

var errFault = errors.New("injected fault")

// point is an entry's index and term.
type point struct{ index, term uint64 }

// entries returns logs from index first to last of one term.
func entries(first, last, term uint64) []*raft.Log {
	var logs []*raft.Log
	for i := first; i <= last; i++ {
		logs = append(logs, &raft.Log{Index: i, Term: term, Data: fmt.Appendf(nil, "%d@%d", i, term)})
	}
	return logs
}

// wantEnds checks FirstIndex and LastIndex.
func wantEnds(t *testing.T, s raft.LogStore, wantFirst, wantLast uint64) {
	t.Helper()
	first, err := s.FirstIndex()
	last, err2 := s.LastIndex()
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	if first != wantFirst || last != wantLast {
		t.Fatalf("log is %d to %d, want %d to %d", first, last, wantFirst, wantLast)
	}
}

// wantTerms checks the terms of consecutive entries from index first on, 0 for one that
// is not found.
func wantTerms(t *testing.T, s raft.LogStore, first uint64, want ...uint64) {
	t.Helper()
	var got []uint64
	for i := range want {
		var l raft.Log
		if err := s.GetLog(first+uint64(i), &l); err != nil && err != raft.ErrLogNotFound {
			t.Fatalf("entry %d: %v", first+uint64(i), err)
		}
		got = append(got, l.Term)
	}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("terms from entry %d on are %v, want %v", first, got, want)
	}
}

// newDataDir returns a filesystem with a durable directory "data".
func newDataDir(t testing.TB) *crashfs.FS {
	t.Helper()
	fsys := crashfs.New()
	mustMkdir(t, fsys, "data")
	if err := fsys.SyncDir("."); err != nil {
		t.Fatal(err)
	}
	return fsys
}

func mustWrite(t testing.TB, fsys wal.FS, path string, content []byte) {
	t.Helper()
	if err := wal.WriteFileAtomic(fsys, path, content); err != nil {
		t.Fatal(err)
	}
}

func mustMkdir(t testing.TB, fsys wal.FS, dir string) {
	t.Helper()
	if err := fsys.MkdirAll(dir); err != nil {
		t.Fatal(err)
	}
}

// stopped returns nil once the node has stopped.
func stopped(n *Node) error {
	if n.Err() == nil {
		return errors.New("it goes on")
	}
	return nil
}

// brittleStable is a stable store whose disk fails when it is told to.
type brittleStable struct {
	raft.StableStore
	broken *atomic.Bool
}

func (b brittleStable) Set(key, value []byte) error {
	if b.broken.Load() {
		return syscall.EIO
	}
	return b.StableStore.Set(key, value)
}

// TestD7_TermNotWritten has a term that can't be made durable stop the node, and
// not the program that it is part of, which raft's panic would end.
func TestD7_TermNotWritten(t *testing.T) {
	t.Parallel()
	var broken [3]atomic.Bool
	made := 0
	nodes := openCluster(t, 3, func(cfg *Config) {
		mine := &broken[made]
		made++
		cfg.Seams.OpenStable = func(path string) (raft.StableStore, io.Closer, error) {
			inner, closer, err := raftstore.OpenBolt(path)
			return brittleStable{inner, mine}, closer, err
		}
	})
	leader := leaderOf(t, nodes)
	bad := slices.IndexFunc(nodes, func(n *Node) bool { return n != leader })
	broken[bad].Store(true)
	eventually(t, "the node stops", func() error {
		_ = leaderOf(t, nodes).Transfer(t.Context(), "") // a new term
		return stopped(nodes[bad])
	})
	if err := nodes[bad].Err(); !errors.Is(err, syscall.EIO) {
		t.Errorf("got %v, want EIO", err)
	}
	if err := nodes[bad].Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	mustPut(t, nodes[(bad+1)%3], "k", "w")
}
