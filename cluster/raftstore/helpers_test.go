package raftstore_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"

	"github.com/hashicorp/raft"
	"github.com/kvorum/kvorum/cluster/raftstore"
	"github.com/kvorum/kvorum/wal"
	"github.com/kvorum/kvorum/wal/crashfs"
)

// The layout that the package comment gives.
const (
	dir           = "data"
	walDir        = "data/wal"
	snapshotsDir  = "data/snapshots"
	floorFile     = "data/floor.json"
	stateFile     = "state"  // below a snapshot's directory
	metaFile      = "meta"   // below a snapshot's directory
	blockPayload  = 64 << 10 // bytes of state in a block of stateFile
	firstPayload  = 32 + 8   // offset of the first of them
	ballotKey     = "ballot" // key of the ballot in the inner store
	unfinished    = ".tmp"   // ends the name of an unfinished snapshot
	segmentBytes  = 64 << 10 // of a test's log
	snapshotBytes = 64 << 20 // Options.SnapshotBytes of a test
	floorFormat   = 1        // of floorFile
	metaFormat    = 1        // of metaFile
	maxCandidate  = 1024     // bytes of a candidate's name
	termKey       = "CurrentTerm"
	voteTermKey   = "LastVoteTerm"
	candidateKey  = "LastVoteCand"
)

var errFault = errors.New("injected fault")

// failer is the part of testing.TB that *rapid.T has too.
type failer interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

// fatals collects the errors that the stores reported to OnFatal.
type fatals struct {
	mu   sync.Mutex
	errs []error // guarded by mu
}

func (f *fatals) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.errs = append(f.errs, err)
}

func (f *fatals) all() []error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.errs
}

// wantNone fails the test if anything was reported.
func (f *fatals) wantNone(t failer) {
	t.Helper()
	if errs := f.all(); len(errs) > 0 {
		t.Fatalf("OnFatal was told of %v", errs)
	}
}

// wantOne fails the test unless exactly one error, which is target, was reported.
func (f *fatals) wantOne(t failer, target error) {
	t.Helper()
	if errs := f.all(); len(errs) != 1 || !errors.Is(errs[0], target) {
		t.Fatalf("OnFatal was told of %v, want one error: %v", errs, target)
	}
}

// member is the data directory of one member on a filesystem that can crash, and its
// stores while they are open. Term and vote are in memory: they survive everything.
type member struct {
	*raftstore.Stores
	fs      *crashfs.FS
	stable  raft.StableStore
	options raftstore.Options
	wrap    func(wal.FS) wal.FS // changes what the stores have of fs; may be nil
	fatals  *fatals
}

// newMember returns a member whose data directory on files is empty, or was made by
// another member. Its stores are not open.
func newMember(files *crashfs.FS) *member {
	return &member{fs: files, stable: raft.NewInmemStore(), options: raftstore.Options{
		Dir: dir, SnapshotBytes: snapshotBytes, RetainSnapshots: 2, Log: wal.Options{MaxSegmentSize: segmentBytes},
	}}
}

// open opens the stores.
func (m *member) open() error {
	if err := errors.Join(m.fs.MkdirAll(dir), m.fs.SyncDir(".")); err != nil {
		return err
	}
	m.fatals = &fatals{}
	opts := m.options
	opts.FS, opts.OnFatal = m.fs, m.fatals.fail
	if m.wrap != nil {
		opts.FS = m.wrap(m.fs)
	}
	opts.OpenStable = func(path string) (raft.StableStore, io.Closer, error) {
		err := errors.Join(wal.MakeDir(m.fs, filepath.Dir(path)), wal.WriteFileAtomic(m.fs, path, nil)) // it is looked for
		if err != nil || m.options.OpenStable == nil {
			return m.stable, io.NopCloser(nil), err
		}
		return m.options.OpenStable(path)
	}
	var err error
	m.Stores, err = raftstore.Open(context.Background(), opts)
	return err
}

func (m *member) mustOpen(t failer) {
	t.Helper()
	if err := m.open(); err != nil {
		t.Fatal(err)
	}
}

// close closes the stores, if they are open.
func (m *member) close() {
	if m.Stores != nil {
		_ = m.Close() // the filesystem may have failed
		m.Stores = nil
	}
}

// crash loses power: only durable data is left.
func (m *member) crash() {
	old := m.fs
	m.fs = old.Crash(crashfs.CrashOptions{})
	m.close() // on the halted filesystem
}

// reopen loses power and opens the stores that are left.
func (m *member) reopen(t failer) {
	t.Helper()
	m.crash()
	m.mustOpen(t)
}

// openOn opens the stores of a data directory on files until the test ends.
func openOn(t testing.TB, files *crashfs.FS) *member {
	t.Helper()
	m := newMember(files)
	m.mustOpen(t)
	t.Cleanup(m.close)
	return m
}

// openNew opens stores on an empty disk until the test ends.
func openNew(t testing.TB) *member {
	t.Helper()
	return openOn(t, crashfs.New())
}

// entries returns logs from index first to last of one term.
func entries(first, last, term uint64) []*raft.Log {
	var logs []*raft.Log
	for i := first; i <= last; i++ {
		logs = append(logs, &raft.Log{Index: i, Term: term, Data: fmt.Appendf(nil, "%d@%d", i, term)})
	}
	return logs
}

func mustStore(t failer, s raft.LogStore, logs []*raft.Log) {
	t.Helper()
	if err := s.StoreLogs(logs); err != nil {
		t.Fatal(err)
	}
}

func mustDelete(t failer, s raft.LogStore, first, last uint64) {
	t.Helper()
	if err := s.DeleteRange(first, last); err != nil {
		t.Fatal(err)
	}
}

// wantEnds checks FirstIndex and LastIndex.
func wantEnds(t failer, s raft.LogStore, wantFirst, wantLast uint64) {
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

// termOf returns the term of an entry, 0 if it is not found.
func termOf(t failer, s raft.LogStore, index uint64) uint64 {
	t.Helper()
	var l raft.Log
	err := s.GetLog(index, &l)
	if err == raft.ErrLogNotFound { // the very value: raft compares it by identity
		return 0
	}
	if err != nil {
		t.Fatalf("GetLog(%d): %v", index, err)
	}
	if l.Index != index {
		t.Fatalf("GetLog(%d) returned entry %d", index, l.Index)
	}
	return l.Term
}

// wantTerms checks the terms of consecutive entries, the first at index first; 0 means
// that the entry is not found.
func wantTerms(t failer, s raft.LogStore, first uint64, want ...uint64) {
	t.Helper()
	for i, term := range want {
		if got := termOf(t, s, first+uint64(i)); got != term {
			t.Fatalf("entry %d has term %d, want the terms %v from entry %d on", first+uint64(i), got, want, first)
		}
	}
}

// point is a snapshot's index and term.
type point struct{ index, term uint64 }

var servers = raft.Configuration{Servers: []raft.Server{
	{Suffrage: raft.Voter, ID: "n1.0123456789abcdef", Address: "n1.0123456789abcdef"},
	{Suffrage: raft.Nonvoter, ID: "n2.0123456789abcdef", Address: "n2.0123456789abcdef"},
}}

func mustCreate(t failer, s raft.SnapshotStore, index, term uint64) raft.SnapshotSink {
	t.Helper()
	k, err := s.Create(raft.SnapshotVersionMax, index, term, servers, 3, nil)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// take makes a snapshot with the given state.
func take(s raft.SnapshotStore, index, term uint64, state []byte) (string, error) {
	k, err := s.Create(raft.SnapshotVersionMax, index, term, servers, 3, nil)
	if err != nil {
		return "", err
	}
	if _, err := k.Write(state); err != nil {
		return "", errors.Join(err, k.Cancel())
	}
	return k.ID(), k.Close()
}

func mustTake(t failer, s raft.SnapshotStore, index, term uint64, state []byte) string {
	t.Helper()
	id, err := take(s, index, term, state)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// readState returns a snapshot's state.
func readState(s raft.SnapshotStore, id string) ([]byte, error) {
	_, r, err := s.Open(id)
	if err != nil {
		return nil, err
	}
	state, err := io.ReadAll(r)
	return state, errors.Join(err, r.Close())
}

// newestOf returns the newest snapshot that is listed, nil for none.
func newestOf(t failer, s raft.SnapshotStore) *raft.SnapshotMeta {
	t.Helper()
	list, err := s.List()
	if err != nil || len(list) > 1 {
		t.Fatalf("List: %d snapshots, %v", len(list), err)
	}
	if len(list) == 0 {
		return nil
	}
	return list[0]
}

// randomBytes returns the same n bytes each time.
func randomBytes(n int) []byte {
	b := make([]byte, n)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func mustTruncate(t testing.TB, fsys wal.FS, name string, size int64) {
	t.Helper()
	f, err := fsys.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Truncate(size), f.Close()); err != nil {
		t.Fatal(err)
	}
}
