package replica_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/cluster/internal/clustertest"
	"github.com/kvorum/kvorum/cluster/replica"
	"github.com/kvorum/kvorum/transport"
	"github.com/kvorum/kvorum/wal"
	"github.com/kvorum/kvorum/wal/crashfs"
)

// Each test here is named after what it is about: an issue of hashicorp/raft, a
// decision of ours, or both. Its sub-tests Library… and WithoutMeasure show what
// happens without our measure, and fail if that is mended; the others
// show that it does not happen here. docs/reliability.md has the list.

func unchanged[T any](*T) {}

// TestIssue661_D3_VoteInTwoWrites has the second of the two writes of a vote fail:
// the term is new, and the candidate is that of the vote before. He gets this vote
// too, although his log is empty by now and lacks what was committed.
func TestIssue661_D3_VoteInTwoWrites(t *testing.T) {
	voteTwice := func(t *testing.T, f *follower, stable *refusingStable) (again bool) {
		if !f.vote(t, trio[2], 500, point{1, 1}) {
			t.Fatal("a candidate with a whole log got no vote")
		}
		stable.refused = string(trio[1])
		if f.vote(t, trio[1], 700, point{1, 1}) {
			t.Fatal("a vote was given that could not be written")
		}
		stable.refused = ""
		return f.vote(t, trio[2], 700, point{})
	}
	clustertest.InBubble(t, "Library", func(t *testing.T) {
		stable := &refusingStable{InmemStore: raft.NewInmemStore()}
		f := startLibrary(t, raft.NewInmemStore(), stable, raft.NewInmemSnapshotStore())
		if !voteTwice(t, f, stable) {
			t.Error("the candidate of the old vote was refused: issue 661 is fixed, or this is no control")
		}
	})
	clustertest.InBubble(t, "OK", func(t *testing.T) {
		stable := &refusingStable{InmemStore: raft.NewInmemStore()}
		f := startReplica(t, func(cfg *replica.Config) { cfg.Seams.OpenStable = stable.open }, unchanged)
		if voteTwice(t, f, stable) {
			t.Error("a candidate with an empty log got the vote of another one")
		}
		if err := f.fatal.Reason(); !errors.Is(err, errFault) {
			t.Errorf("the node continues: %v", err)
		}
	})
}

// TestD5_StaleSnapshot sends a follower a snapshot of a state that it is past.
// Raft installs it: the state machine goes back to it, and a monotonic log is
// wiped, which held entries that this follower has acknowledged.
func TestD5_StaleSnapshot(t *testing.T) {
	old := commands(2, 50, 2)
	send := func(t *testing.T, f *follower, commit uint64) {
		f.mustAppend(t, 2, point{1, 1}, commands(2, 100, 2), commit)
		if err := f.fsm.WaitApplied(t.Context(), commit); err != nil {
			t.Fatal(err)
		}
		f.mustInstall(t, 2, point{50, 2}, stateAt(t, old))
	}
	clustertest.InBubble(t, "WithoutMeasure", func(t *testing.T) {
		f := startReplica(t, unchanged, func(c *transport.Config) { c.StaleSnapshot = nil })
		send(t, f, 100)
		if got := f.fsm.AppliedIndex(); got != 50 || f.holds(100) != "" {
			t.Errorf("applied %d and key 100 is %q: raft does not go back any more, or this is no control", got, f.holds(100))
		}
	})
	clustertest.InBubble(t, "LibraryMonotonic", func(t *testing.T) {
		f := startLibrary(t, monotonic{raft.NewInmemStore()}, raft.NewInmemStore(), raft.NewInmemSnapshotStore())
		send(t, f, 60)
		if last, err := f.logs.LastIndex(); err != nil || last != 0 {
			t.Errorf("the log ends at %d, %v: raft does not wipe it any more, or this is no control", last, err)
		}
	})
	clustertest.InBubble(t, "Applied", func(t *testing.T) {
		f := startReplica(t, unchanged, unchanged)
		send(t, f, 100)
		if got := f.fsm.AppliedIndex(); got != 100 || f.holds(100) != "2" {
			t.Errorf("applied %d, and key 100 is %q", got, f.holds(100))
		}
	})
	clustertest.InBubble(t, "Stored", func(t *testing.T) {
		f := startReplica(t, unchanged, unchanged)
		send(t, f, 40)
		if got, installed := f.fsm.AppliedIndex(), f.stores.Snapshots.Newest(); got != 40 || installed != nil {
			t.Errorf("applied %d, snapshot installed: %v", got, installed)
		}
		f.mustAppend(t, 2, point{100, 2}, nil, 100)
		wantTerms(t, f.logs, 49, 2, 2, 2)
	})
	clustertest.InBubble(t, "Trimmed", func(t *testing.T) {
		f := startReplica(t, unchanged, unchanged)
		f.mustInstall(t, 2, point{60, 2}, stateAt(t, commands(2, 60, 2)))
		f.mustInstall(t, 2, point{50, 2}, stateAt(t, old))
		if got := f.fsm.AppliedIndex(); got != 60 || f.holds(60) != "2" {
			t.Errorf("applied %d, and key 60 is %q", got, f.holds(60))
		}
	})
	clustertest.InBubble(t, "Rule", func(t *testing.T) {
		f := startReplica(t, unchanged, unchanged)
		f.mustAppend(t, 2, point{1, 1}, commands(2, 100, 2), 40)
		if err := f.fsm.WaitApplied(t.Context(), 40); err != nil {
			t.Fatal(err)
		}
		for name, tt := range map[string]struct {
			term, index, logTerm uint64
			want                 bool
		}{
			"Applied":          {2, 40, 2, true},
			"Stored":           {2, 100, 2, true},
			"StoredOtherwise":  {3, 50, 3, false}, // the term first becomes raft's
			"OverruledEntry":   {2, 50, 1, false},
			"Beyond":           {2, 101, 2, false},
			"AppliedLaterTerm": {3, 40, 2, false},
		} {
			request := &raft.InstallSnapshotRequest{Term: tt.term, LastLogIndex: tt.index, LastLogTerm: tt.logTerm}
			if got := f.replica.StaleSnapshot(request); got != tt.want {
				t.Errorf("%s: got %t", name, got)
			}
		}
	})
}

// TestIssue697_SnapshotLivelock has a follower's log contradict the snapshot that
// its new leader needs to send. Raft keeps the end of the old log in mind, denies
// the entry that the snapshot ends with, and is sent the snapshot again, for ever.
func TestIssue697_SnapshotLivelock(t *testing.T) {
	const limit = 20
	later := leaderLog{term: 3, snapshot: point{50, 3}, entries: commands(51, 60, 3)}
	catchUp := func(t *testing.T, f *follower) (int, bool) {
		later.state = stateAt(t, append(commands(2, 40, 2), commands(41, 50, 3)...))
		f.mustAppend(t, 2, point{1, 1}, commands(2, 100, 2), 40)
		return later.catchUp(t, f, limit)
	}
	for name, logs := range map[string]raft.LogStore{
		"Library":          raft.NewInmemStore(),
		"LibraryMonotonic": monotonic{raft.NewInmemStore()},
	} {
		clustertest.InBubble(t, name, func(t *testing.T) {
			f := startLibrary(t, logs, raft.NewInmemStore(), raft.NewInmemSnapshotStore())
			if sent, done := catchUp(t, f); done {
				t.Errorf("caught up after %d snapshots: issue 697 is fixed, or this is no control", sent)
			}
		})
	}
	clustertest.InBubble(t, "OK", func(t *testing.T) {
		f := startReplica(t, unchanged, unchanged)
		if sent, done := catchUp(t, f); !done || sent != 1 {
			t.Fatalf("caught up: %t, after %d snapshots", done, sent)
		}
		if err := f.fsm.WaitApplied(t.Context(), 60); err != nil {
			t.Fatal(err)
		}
		for index, want := range map[uint64]string{40: "2", 41: "3", 60: "3", 61: "", 100: ""} {
			if got := f.holds(index); got != want {
				t.Errorf("key %d is of term %q, want %q", index, got, want)
			}
		}
		wantTerms(t, f.logs, 49, 0, 3, 3)
		if err := f.fatal.Reason(); err != nil {
			t.Errorf("the node stops: %v", err)
		}
	})
}

// TestSnapshotBoundary has a follower hold entries behind its newest snapshot that
// a new leader overrules, and nothing before: raft does not know the term that its
// own snapshot ends with (raft.md section 9), and is sent the snapshot for ever.
func TestSnapshotBoundary(t *testing.T) {
	const limit = 20
	later := leaderLog{term: 3, snapshot: point{7, 2}, entries: commands(8, 8, 3)}
	catchUp := func(t *testing.T, f *follower) (int, bool) {
		later.state = stateAt(t, commands(2, 7, 2))
		f.mustInstall(t, 2, later.snapshot, later.state)
		f.mustAppend(t, 2, later.snapshot, commands(8, 10, 2), 7)
		return later.catchUp(t, f, limit)
	}
	clustertest.InBubble(t, "Library", func(t *testing.T) {
		f := startLibrary(t, raft.NewInmemStore(), raft.NewInmemStore(), raft.NewInmemSnapshotStore())
		if sent, done := catchUp(t, f); done {
			t.Errorf("caught up after %d snapshots: raft knows its own snapshot's term, or this is no control", sent)
		}
	})
	clustertest.InBubble(t, "OK", func(t *testing.T) {
		f := startReplica(t, unchanged, unchanged)
		if sent, done := catchUp(t, f); !done || sent != 0 {
			t.Errorf("caught up: %t, after %d snapshots", done, sent)
		}
		wantTerms(t, f.logs, 7, 2, 3, 0)
	})
}

// failingOnce is a log store in memory that fails to store entries once.
type failingOnce struct {
	*raft.InmemStore
	fail atomic.Bool
}

func (s *failingOnce) StoreLogs(logs []*raft.Log) error {
	if s.fail.Swap(false) {
		return errFault
	}
	return s.InmemStore.StoreLogs(logs)
}

// TestD7_FailedWrite has one write of a follower fail, after the end of its log
// was cut off for it. Raft remembers the log as it was before, and acknowledges
// what follows entries that are gone.
func TestD7_FailedWrite(t *testing.T) {
	// failOnce fails the first write of what it is called for.
	follow := func(t *testing.T, f *follower, failOnce func(func())) (acknowledged bool) {
		f.mustAppend(t, 2, point{1, 1}, commands(2, 10, 2), 5)
		failOnce(func() {
			if response, err := f.append(3, point{7, 2}, commands(8, 8, 3), 5); err == nil && response.Success {
				t.Fatal("an append was acknowledged that could not be written")
			}
		})
		response, err := f.append(4, point{10, 2}, commands(11, 11, 4), 5)
		return err == nil && response.Success
	}
	clustertest.InBubble(t, "Library", func(t *testing.T) {
		logs := &failingOnce{InmemStore: raft.NewInmemStore()}
		f := startLibrary(t, logs, raft.NewInmemStore(), raft.NewInmemSnapshotStore())
		acknowledged := follow(t, f, func(do func()) { logs.fail.Store(true); do() })
		if !acknowledged || logs.GetLog(8, new(raft.Log)) == nil {
			t.Errorf("entry 11 was acknowledged: %t: raft knows the end of its log, or this is no control", acknowledged)
		}
	})
	clustertest.InBubble(t, "OK", func(t *testing.T) {
		disk := crashfs.New()
		f := startReplica(t, func(cfg *replica.Config) { cfg.FS = disk }, unchanged)
		acknowledged := follow(t, f, func(do func()) {
			disk.SetHook(func(op crashfs.Op, name string) error {
				if op == crashfs.OpWrite && strings.Contains(name, "wal-") {
					return errFault
				}
				return nil
			})
			do()
			disk.SetHook(nil)
		})
		if acknowledged {
			t.Error("an entry was acknowledged whose predecessors are gone")
		}
		if err := f.fatal.Reason(); !errors.Is(err, errFault) {
			t.Errorf("the node continues: %v", err)
		}
		if err := f.logs.StoreLog(commands(8, 8, 3)[0]); !errors.Is(err, errFault) {
			t.Errorf("a log that has failed takes an entry: %v", err)
		}
	})
}

// TestD11_DamagedSnapshot starts a server whose newest snapshot is damaged, and
// all that it has. The library starts from an older one, and votes as if it had
// never acknowledged what lies between; ours refuses. What was never finished
// stays on the library's disk for good.
func TestD11_DamagedSnapshot(t *testing.T) {
	_, trans := raft.NewInmemTransport("") // the library's store needs one
	take := func(t *testing.T, s raft.SnapshotStore, index uint64) (id string) {
		sink, err := s.Create(raft.SnapshotVersionMax, index, 2, configuration(), 1, trans)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := sink.Write(stateAt(t, commands(2, index, 2))); err != nil {
			t.Fatal(err)
		}
		if err := sink.Close(); err != nil {
			t.Fatal(err)
		}
		return sink.ID()
	}
	begin := func(t *testing.T, s raft.SnapshotStore) {
		if _, err := s.Create(raft.SnapshotVersionMax, 25, 2, configuration(), 1, trans); err != nil {
			t.Fatal(err)
		}
	}
	clustertest.InBubble(t, "Library", func(t *testing.T) {
		dir := t.TempDir()
		open := func() *raft.FileSnapshotStore {
			s, err := raft.NewFileSnapshotStoreWithLogger(dir, 2, hclog.NewNullLogger())
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
		snaps := open()
		take(t, snaps, 10)
		newest := take(t, snaps, 20)
		begin(t, snaps)
		flipByte(t, filepath.Join(dir, "snapshots", newest, "state.bin"))
		stable := raft.NewInmemStore()
		if err := stable.SetUint64([]byte("CurrentTerm"), 2); err != nil {
			t.Fatal(err)
		}
		f := startLibrary(t, raft.NewInmemStore(), stable, open())
		if got := f.fsm.AppliedIndex(); got != 10 {
			t.Errorf("it starts at index %d: the library refuses damage, or this is no control", got)
		}
		if !f.vote(t, trio[1], 3, point{15, 2}) {
			t.Error("a candidate without entries 16 to 20 got no vote")
		}
		if left, err := filepath.Glob(filepath.Join(dir, "snapshots", "*"+clustertest.UnfinishedSuffix)); err != nil || len(left) != 1 {
			t.Errorf("unfinished: %v, %v", left, err)
		}
	})
	clustertest.InBubble(t, "OK", func(t *testing.T) {
		disk := crashfs.New()
		f := startReplica(t, func(cfg *replica.Config) { cfg.FS = disk }, unchanged)
		take(t, f.stores.Snapshots, 10)
		newest := take(t, f.stores.Snapshots, 20)
		begin(t, f.stores.Snapshots)
		mustMkdir(t, disk, filepath.Join("data", clustertest.StableDir)) // term and vote are in memory, but looked for
		mustWrite(t, disk, filepath.Join("data", clustertest.StableDir, clustertest.StableFile), nil)
		open := func(disk *crashfs.FS) error {
			_, err := openFollower(t, func(cfg *replica.Config) { cfg.FS = disk }, unchanged)
			return err
		}
		damaged := disk.Clone()
		file := filepath.Join("data", clustertest.SnapshotsDir, newest, clustertest.StateFile)
		if err := damaged.FlipBit(file, 100, 3); err != nil {
			t.Fatal(err)
		}
		if err := open(damaged); !errors.Is(err, wal.ErrCorrupt) || !strings.Contains(err.Error(), file) {
			t.Errorf("got %v, want ErrCorrupt of %s", err, file)
		}
		whole := disk.Clone()
		if err := open(whole); err != nil {
			t.Errorf("undamaged: %v", err)
		}
		names, err := whole.ReadDir(filepath.Join("data", clustertest.SnapshotsDir))
		if err != nil || len(names) != 2 || strings.HasSuffix(strings.Join(names, " "), clustertest.UnfinishedSuffix) {
			t.Errorf("snapshots %v, %v, want the two that are finished", names, err)
		}
	})
}

func flipByte(t *testing.T, path string) {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	content[len(content)/2] ^= 0xff
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}
