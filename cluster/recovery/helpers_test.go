package recovery_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/cluster/raftstore"
	"github.com/kvorum/kvorum/fsm"
	"github.com/kvorum/kvorum/internal/nodeid"
	"github.com/kvorum/kvorum/internal/wire"
	"github.com/kvorum/kvorum/kv"
	"github.com/kvorum/kvorum/wal"
	"github.com/kvorum/kvorum/wal/crashfs"
)

const (
	oldCluster = "0123456789abcdef0123456789abcdef"
	noteFile   = "diverged.json"
	noteFormat = 1             // of noteFile
	aside      = "diverged-%s" // prefix of files that are set aside, for an incarnation and a dash
	snapshotAt = 4             // the index of each member's snapshot
)

var errFault = errors.New("injected fault")

// identityOf returns the identity of node i of the old cluster.
func identityOf(i int) nodeid.Identity {
	return nodeid.Identity{Name: fmt.Sprint("n", i), Incarnation: fmt.Sprintf("%016x", i), Cluster: oldCluster}
}

// voters returns a configuration of nodes 1 to n.
func voters(n int) raft.Configuration {
	var c raft.Configuration
	for i := range n {
		id := identityOf(i + 1).ServerID()
		c.Servers = append(c.Servers, raft.Server{Suffrage: raft.Voter, ID: id, Address: raft.ServerAddress(id)})
	}
	return c
}

// put returns an entry that sets k and the index to the index.
func put(index, term uint64) *raft.Log {
	one := fsm.Encode(wire.Requests{}, kv.Put(fmt.Sprint("k", index), fmt.Append(nil, index)))
	return &raft.Log{Index: index, Term: term, Type: raft.LogCommand, Data: fsm.AppendEntry(nil, 0, one.Version, one.Count, one.Data)}
}

// history returns entries 1 to last of a cluster: configuration c, a no-op like the first
// entry of each leader, and puts. The puts behind the snapshot are of term.
func history(c raft.Configuration, last, term uint64) []*raft.Log {
	logs := []*raft.Log{
		{Index: 1, Term: 1, Type: raft.LogConfiguration, Data: raft.EncodeConfiguration(c)},
		{Index: 2, Term: 1, Type: raft.LogNoop},
	}
	for i := uint64(3); i <= last; i++ {
		if i <= snapshotAt {
			logs = append(logs, put(i, 1))
		} else {
			logs = append(logs, put(i, term))
		}
	}
	return logs
}

// makeNode makes the data directory of node i, which does not run: its log is entries, and
// it has a snapshot at snapshotAt, with configuration c.
func makeNode(t testing.TB, files wal.FS, dir string, i int, c raft.Configuration, entries []*raft.Log) {
	t.Helper()
	ident := identityOf(i)
	if err := errors.Join(wal.MakeDir(files, dir), nodeid.Write(files, dir, ident)); err != nil {
		t.Fatal(err)
	}
	stores, err := openStores(files, dir, ident)
	if err != nil {
		t.Fatal(err)
	}
	machine := fsm.New(fsm.Config{OnFatal: func(err error) { t.Error(err) }})
	err = stores.Log.StoreLogs(entries)
	for _, log := range entries[:min(snapshotAt, len(entries))] {
		machine.Apply(&raft.Log{Index: log.Index, Term: log.Term, Type: log.Type, Data: bytes.Clone(log.Data)})
	}
	sink, err2 := stores.Snapshots.Create(raft.SnapshotVersionMax, snapshotAt, 1, c, 1, nil)
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	state, err := machine.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(state.Persist(sink), stores.Stable.SetUint64([]byte("CurrentTerm"), 7), stores.Close()); err != nil {
		t.Fatal(err)
	}
}

// newNode is makeNode for a new directory on a real disk, which it returns.
func newNode(t testing.TB, i int, c raft.Configuration, entries []*raft.Log) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data")
	makeNode(t, wal.OS(), dir, i, c, entries)
	return dir
}

// openStores opens the stores of the node with this identity. On a simulated disk term and
// vote are in memory, with an empty file in their place, which must exist.
func openStores(files wal.FS, dir string, ident nodeid.Identity) (*raftstore.Stores, error) {
	opts := raftstore.Options{
		Dir: dir, FS: files, RetainSnapshots: 2, OnFatal: func(error) {},
		Log: wal.Options{Owner: wal.Owner{Node: string(ident.ServerID()), Cluster: ident.Cluster}},
	}
	if _, simulated := files.(*crashfs.FS); simulated {
		opts.OpenStable = func(path string) (raft.StableStore, io.Closer, error) {
			err := errors.Join(wal.MakeDir(files, filepath.Dir(path)), wal.WriteFileAtomic(files, path, nil))
			return raft.NewInmemStore(), io.NopCloser(nil), err
		}
	}
	return raftstore.Open(context.Background(), opts)
}

// wantState fails the test unless the node of dir has keys k3 to k(last) in its newest
// snapshot, and no entry behind it.
func wantState(t testing.TB, files wal.FS, dir string, last uint64) {
	t.Helper()
	machine := fsm.New(fsm.Config{OnFatal: func(err error) { t.Error(err) }})
	_, err := raftstore.Read(files, dir,
		func(_ *raft.SnapshotMeta, state io.Reader) error { return machine.Restore(io.NopCloser(state)) },
		func(log *raft.Log) { t.Errorf("entry %d is behind the snapshot", log.Index) })
	if err != nil {
		t.Fatal(err)
	}
	for i := uint64(3); i <= last; i++ {
		if it, found := machine.Get(fmt.Sprint("k", i)); !found || string(it.Value) != fmt.Sprint(i) {
			t.Errorf("k%d: got %q, %v", i, it.Value, found)
		}
	}
	if want := int(last) - 2; machine.Len() != want {
		t.Errorf("got %d keys, want %d", machine.Len(), want)
	}
}

// tree returns the content of all files below dir except LOCK.
func tree(t testing.TB, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() || entry.Name() == "LOCK" {
			return err
		}
		content, err := os.ReadFile(path)
		found[path] = string(content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// flip changes one bit of the byte at offset at of a file, and changes it back when the
// subtest ends.
func flip(t *testing.T, path string, at int) {
	t.Helper()
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	bad := bytes.Clone(whole)
	bad[at] ^= 0x10
	if err := os.WriteFile(path, bad, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.WriteFile(path, whole, 0o600); err != nil {
			t.Fatal(err)
		}
	})
}

// only returns the one file that pattern matches below dir.
func only(t testing.TB, dir, pattern string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil || len(found) != 1 {
		t.Fatalf("%s: found %v, %v", pattern, found, err)
	}
	return found[0]
}

// limitedFS fails every change after the first few.
type limitedFS struct {
	wal.FS
	left int
	err  error
}

func (f *limitedFS) take() error {
	if f.left--; f.left < 0 {
		return f.err
	}
	return nil
}

func (f *limitedFS) Create(name string) (wal.File, error) {
	if err := f.take(); err != nil {
		return nil, err
	}
	return f.FS.Create(name)
}

func (f *limitedFS) Rename(from, to string) error {
	if err := f.take(); err != nil {
		return err
	}
	return f.FS.Rename(from, to)
}

func (f *limitedFS) SyncDir(name string) error {
	if err := f.take(); err != nil {
		return err
	}
	return f.FS.SyncDir(name)
}
