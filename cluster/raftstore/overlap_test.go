package raftstore_test

import (
	"errors"
	"math"
	"sync/atomic"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/wal"
	"github.com/kvorum/kvorum/wal/crashfs"
)

// gatedFS is a filesystem whose syncs wait for a receive from gate, if there is one.
type gatedFS struct {
	wal.FS
	gate atomic.Pointer[chan error]
}

func (f *gatedFS) Create(name string) (wal.File, error) {
	file, err := f.FS.Create(name)
	return gatedFile{file, f}, err
}

type gatedFile struct {
	wal.File
	fs *gatedFS
}

func (f gatedFile) Sync() error {
	if gate := f.fs.gate.Load(); gate != nil {
		if err := <-*gate; err != nil {
			return err
		}
	}
	return f.File.Sync()
}

// overlapping returns a member with entries 1 to 3 that returns before its syncs, each of
// which waits for a receive from gate.
func overlapping(t *testing.T) (m *member, gate chan error) {
	t.Helper()
	m = newMember(crashfs.New())
	files := &gatedFS{FS: m.fs}
	m.wrap = func(wal.FS) wal.FS { return files }
	m.mustOpen(t)
	t.Cleanup(m.close)
	mustStore(t, m.Log, entries(1, 3, 1))
	m.Log.Overlap(func() bool { return true })
	gate = make(chan error)
	files.gate.Store(&gate)
	return m, gate
}

// TestLog_Overlap stores entries whose sync waits. They are in the log, and not durable.
// Another change waits for them.
func TestLog_Overlap(t *testing.T) {
	m, gate := overlapping(t)
	mustStore(t, m.Log, entries(4, 5, 2))
	wantEnds(t, m.Log, 1, 5)
	wantTerms(t, m.Log, 1, 1, 1, 1, 2, 2)
	if got := m.Log.Durable(); got != 3 {
		t.Errorf("durable up to %d, want 3", got)
	}
	if err := m.Log.AwaitDurable(3, nil); err != nil {
		t.Errorf("what was durable before: %v", err)
	}
	gone := make(chan struct{})
	close(gone)
	if err := m.Log.AwaitDurable(4, gone); err == nil {
		t.Error("durable for who does not wait any more")
	}
	if m.Log.Holds(4, 2) || !m.Log.Holds(3, 1) {
		t.Error("the log says that it holds what is not durable, or not what is")
	}
	awaited, stored := make(chan error, 1), make(chan error, 1)
	go func() { awaited <- m.Log.AwaitDurable(4, nil) }()
	next := entries(6, 6, 2)
	next[0].Type = raft.LogNoop // raft acts on it by itself
	go func() { stored <- m.Log.StoreLogs(next) }()
	select {
	case err := <-awaited:
		t.Errorf("durable without a sync: %v", err)
	case err := <-stored:
		t.Errorf("the next change did not wait: %v", err)
	case gate <- nil:
	}
	if err := <-awaited; err != nil {
		t.Error(err)
	}
	select {
	case err := <-stored:
		t.Errorf("no command, and stored without a sync: %v", err)
	case gate <- nil:
	}
	if err := <-stored; err != nil {
		t.Error(err)
	}
	wantEnds(t, m.Log, 1, 6)
	if got := m.Log.Durable(); got != math.MaxUint64 {
		t.Errorf("durable up to %d, and nothing is being written", got)
	}
	m.fatals.wantNone(t)
	close(gate)
}

// TestLog_OverlapCrash loses power before the sync. The entries are gone, as after an append
// that was not durable.
func TestLog_OverlapCrash(t *testing.T) {
	m, gate := overlapping(t)
	mustStore(t, m.Log, entries(4, 5, 2))
	old := m.fs
	m.fs = old.Crash(crashfs.CrashOptions{})
	close(gate)
	m.close()
	m.wrap = nil
	m.mustOpen(t)
	wantEnds(t, m.Log, 1, 3)
}

// TestLog_OverlapFails has the sync fail. That is final, and no waiter takes the entries for
// durable.
func TestLog_OverlapFails(t *testing.T) {
	m, gate := overlapping(t)
	broken := errors.New("broken disk")
	mustStore(t, m.Log, entries(4, 5, 2))
	gate <- broken
	for range 2 { // at the failure, and later
		if err := m.Log.AwaitDurable(5, nil); !errors.Is(err, broken) {
			t.Errorf("await: %v", err)
		}
	}
	if got := m.Log.Durable(); got != 3 {
		t.Errorf("durable up to %d, want 3", got)
	}
	if err := m.Log.StoreLogs(entries(6, 6, 2)); !errors.Is(err, broken) {
		t.Errorf("the next change: %v", err)
	}
	m.fatals.wantOne(t, broken)
	close(gate)
}

// TestLog_NoOverlap stores entries while the member does not lead.
func TestLog_NoOverlap(t *testing.T) {
	m, gate := overlapping(t)
	m.Log.Overlap(func() bool { return false })
	stored := make(chan error, 1)
	go func() { stored <- m.Log.StoreLogs(entries(4, 4, 1)) }()
	select {
	case err := <-stored:
		t.Errorf("stored without a sync: %v", err)
	case gate <- nil:
	}
	if err := <-stored; err != nil {
		t.Error(err)
	}
	close(gate)
}
