package raftstore_test

import (
	"errors"
	"testing"

	"github.com/hashicorp/raft"
	"github.com/kvorum/kvorum/cluster/raftstore"
	"github.com/kvorum/kvorum/wal/crashfs"
	"pgregory.net/rapid"
)

// TestLog_AgreesWithModel compares the store with raft's in-memory one over random
// legal requests, across power failures. It compares the part that raft relies on: the
// newest snapshot's last entry, and all entries behind it.
func TestLog_AgreesWithModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		l := newMember(crashfs.New())
		l.mustOpen(rt)
		defer func() { l.close() }()
		m := &logModel{store: raft.NewInmemStore(), term: 1}
		rt.Repeat(map[string]func(*rapid.T){
			"store": func(rt *rapid.T) {
				m.term += rapid.Uint64Range(0, 1).Draw(rt, "term")
				logs := entries(m.last+1, m.last+rapid.Uint64Range(1, 700).Draw(rt, "count"), m.term)
				mustStore(rt, l.Log, logs)
				mustStore(rt, m.store, logs)
				m.last = logs[len(logs)-1].Index
			},
			"cut": func(rt *rapid.T) {
				if m.last == m.snapshot {
					rt.Skip("nothing behind the snapshot")
				}
				from := rapid.Uint64Range(m.snapshot+1, m.last).Draw(rt, "from")
				mustDelete(rt, l.Log, from, m.last)
				mustDelete(rt, m.store, from, m.last)
				m.last = from - 1
			},
			"snapshot": func(rt *rapid.T) {
				if m.last == m.snapshot {
					rt.Skip("nothing behind the snapshot")
				}
				at := rapid.Uint64Range(m.snapshot+1, m.last).Draw(rt, "at")
				m.snapshotTerm = termOf(rt, m.store, at)
				m.snapshot = at
				mustTake(rt, l.Snapshots, at, m.snapshotTerm, nil)
				mustDelete(rt, l.Log, 1, at)
			},
			"install": func(rt *rapid.T) {
				m.term++
				m.snapshot = m.last + rapid.Uint64Range(2, 50).Draw(rt, "ahead")
				m.snapshotTerm = m.term
				m.last = m.snapshot
				mustTake(rt, l.Snapshots, m.snapshot, m.snapshotTerm, nil)
			},
			"overrule": func(rt *rapid.T) {
				if m.last < m.snapshot+2 {
					rt.Skip("too little behind the snapshot")
				}
				m.term++
				at := rapid.Uint64Range(m.snapshot+1, m.last-1).Draw(rt, "at")
				mustTake(rt, l.Snapshots, at, m.term, nil)
				mustDelete(rt, l.Log, at+1, m.last)
				m.snapshot, m.snapshotTerm, m.last = at, m.term, at
			},
			"reopen": func(rt *rapid.T) {
				l.reopen(rt)
			},
			"": func(rt *rapid.T) {
				l.fatals.wantNone(rt)
				m.check(rt, l.Log)
			},
		})
	})
}

// logModel is the expected content of the log: the entries behind the newest snapshot
// are those of store, and the snapshot's own is known.
type logModel struct {
	store                  *raft.InmemStore
	last                   uint64
	snapshot, snapshotTerm uint64
	term                   uint64
}

func (m *logModel) check(t *rapid.T, l *raftstore.Log) {
	first, err := l.FirstIndex()
	if err != nil {
		t.Fatal(err)
	}
	last, err := l.LastIndex()
	if err != nil {
		t.Fatal(err)
	}
	if last != m.last && m.snapshot != 1 {
		t.Fatalf("LastIndex is %d, want %d", last, m.last)
	}
	if first > m.snapshot+1 || first == 0 && m.last > 1 {
		t.Fatalf("FirstIndex is %d with a snapshot at %d", first, m.snapshot)
	}
	if m.snapshot > 1 && termOf(t, l, m.snapshot) != m.snapshotTerm {
		t.Fatalf("entry %d has term %d, the snapshot there %d", m.snapshot, termOf(t, l, m.snapshot), m.snapshotTerm)
	}
	for i := m.snapshot + 1; i <= m.last; i++ {
		var got, want raft.Log
		if err := errors.Join(l.GetLog(i, &got), m.store.GetLog(i, &want)); err != nil {
			t.Fatalf("entry %d: %v", i, err)
		}
		if got.Term != want.Term || string(got.Data) != string(want.Data) {
			t.Fatalf("entry %d is %q of term %d, want %q of term %d", i, got.Data, got.Term, want.Data, want.Term)
		}
	}
	if got := termOf(t, l, m.last+1); got != 0 {
		t.Fatalf("entry %d behind the end has term %d", m.last+1, got)
	}
}
