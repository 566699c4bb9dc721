package cluster

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/fsm"
	"github.com/kvorum/kvorum/kv"
	"github.com/kvorum/kvorum/wal"
)

// versionTable is what a test's members have announced. Those that are not in it have
// said nothing themselves.
type versionTable struct {
	members []raft.ServerID
	said    map[raft.ServerID]uint8
}

// servers is the configuration: the first member alone votes.
func (v *versionTable) servers() (all []raft.Server) {
	for i, id := range v.members {
		suffrage := raft.Voter
		if i > 0 {
			suffrage = raft.Nonvoter
		}
		all = append(all, raft.Server{ID: id, Suffrage: suffrage})
	}
	return all
}

// announced returns a high version for those that only gossip tells of.
func (v *versionTable) announced(id raft.ServerID) (version uint8, firsthand bool) {
	if version, ok := v.said[id]; ok {
		return version, true
	}
	return 9, false
}

// expectAllowed checks which versions may be written, and who is named for those that
// may not.
func expectAllowed(t *testing.T, v *versions, what string, highest uint8, named string) {
	t.Helper()
	for version := uint8(0); version <= 3; version++ {
		err := v.allows(version)
		switch {
		case version <= highest && err != nil:
			t.Errorf("%s: version %d: %v", what, version, err)
		case version > highest && (!errors.Is(err, kv.ErrUnsupported) || version == 3 && !strings.HasSuffix(err.Error(), named)):
			t.Errorf("%s: version %d: got %v, want a kv.ErrUnsupported that ends with %q", what, version, err, named)
		}
	}
}

// TestVersions_LeastOfAllMembers: what may be written is the least that a member of the
// configuration has announced, whether it votes or not, and those below are named.
func TestVersions_LeastOfAllMembers(t *testing.T) {
	table := &versionTable{members: []raft.ServerID{"n1.a", "n2.b"}, said: map[raft.ServerID]uint8{"n1.a": 3, "n2.b": 3, "n9.z": 1}}
	v := newVersions(3, table.servers, table.announced)
	v.asked(0)
	expectAllowed(t, v, "all understand all", 3, "")
	table.said["n2.b"] = 2
	expectAllowed(t, v, "before it is told of a change", 3, "")
	v.update()
	expectAllowed(t, v, "one came back with less", 2, "needs command version 3, and n2 announces 2")
	table.members = append(table.members, "n3.c")
	v.update()
	expectAllowed(t, v, "a member that only gossip tells of", 1, "n2 announces 2, n3 has announced none yet")
	table.said["n3.c"] = 0
	v.update()
	expectAllowed(t, v, "a member that announces nothing", 1, "n3 has announced none yet")
	table.said["n1.a"], table.said["n2.b"], table.said["n3.c"] = 1, 3, 200
	v.update()
	expectAllowed(t, v, "this node announces less than it understands", 1, "and n1 announces 1")
	table.said["n1.a"] = 3
	v.update()
	expectAllowed(t, v, "all again", 3, "")
}

// TestVersions_NewerThanThisBuild: a version that this node itself does not understand is
// refused with its words, though all members may.
func TestVersions_NewerThanThisBuild(t *testing.T) {
	table := &versionTable{members: []raft.ServerID{"n1.a", "n2.b"}, said: map[raft.ServerID]uint8{"n1.a": 2, "n2.b": 3}}
	v := newVersions(2, table.servers, table.announced)
	v.asked(0)
	expectAllowed(t, v, "a newer build has sent it", 2, "needs command version 3, and this node understands 2")
}

// TestVersions_JoiningCounts: a node counts from before it is a member.
func TestVersions_JoiningCounts(t *testing.T) {
	table := &versionTable{members: []raft.ServerID{"n1.a"}, said: map[raft.ServerID]uint8{"n1.a": 3}}
	v := newVersions(3, table.servers, table.announced)
	v.asked(0)
	first, second := v.join("n2.b", 1), v.join("n3.c", 2)
	expectAllowed(t, v, "two join", 1, "n2 announces 1, n3 announces 2")
	first()
	expectAllowed(t, v, "the first one was refused", 2, "n3 announces 2")
	table.members, table.said["n3.c"] = append(table.members, "n3.c"), 2
	second()
	expectAllowed(t, v, "the second one is a member", 2, "n3 announces 2")
}

// TestVersions_LeavingCounts: a member that is being removed counts until it is no member
// and its connections are closed.
func TestVersions_LeavingCounts(t *testing.T) {
	table := &versionTable{members: []raft.ServerID{"n1.a", "n2.b"}, said: map[raft.ServerID]uint8{"n1.a": 3, "n2.b": 1}}
	member := func(id raft.ServerID) bool { return slices.Contains(table.members, id) }
	v := newVersions(3, table.servers, table.announced)
	v.asked(0)
	v.leave("n2.b")
	v.forget(member)
	expectAllowed(t, v, "it is still a member", 1, "n2 announces 1")
	table.members = table.members[:1]
	v.update()
	expectAllowed(t, v, "it is removed", 1, "n2 announces 1")
	v.forget(member)
	expectAllowed(t, v, "its connections are closed", 3, "")
}

// TestJoin_WaitsForTheBatchUnderWay has an older node join while a batch with a newer
// request, which was admitted before, is still being written: the join waits for that, and
// is refused. Otherwise the node would be a member, and be sent what it does not understand.
func TestJoin_WaitsForTheBatchUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := openBubble(t, 1, nil)
		n := b.nodes[0]
		if _, err := n.Snapshot(t.Context(), ""); err != nil { // the checkpoint is in the log no more
			t.Fatal(err)
		}
		joiner := b.openJoiner(t, "n2", func(cfg *Config) { cfg.MaxCommandVersion = 1 })
		release := b.disks[n].hang()
		written := make(chan error, 1)
		go func() {
			_, err := n.Do(t.Context(), two("a", "b"))
			written <- err
		}()
		synctest.Wait()
		join := goJoin(soon(t), n, joiner)
		time.Sleep(time.Second)
		release()
		<-join.done
		if err := <-written; err != nil {
			t.Errorf("the request under way: %v", err)
		}
		if !errors.Is(join.err, kv.ErrTooOld) {
			t.Errorf("join: got %+v, %v, want ErrTooOld", join.member, join.err)
		}
		if got := membersOf(n, false); got != "[n1]" {
			t.Errorf("members: %s", got)
		}
	})
}

// TestVersions_NewLeaderAsksFirst has a member come back with less while the next leader
// does not reach it: the present leader alone hears of it. The next leader asks before it
// writes anything newer, though the member had announced more to it before.
func TestVersions_NewLeaderAsksFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		configs := make(map[string]Config)
		b := openBubble(t, 3, func(cfg *Config) {
			cfg.Timing.Commit = 10 * time.Millisecond // a successor must know what is committed
			stable, files := raft.NewInmemStore(), cfg.FS
			cfg.Seams.OpenStable = func(path string) (raft.StableStore, io.Closer, error) {
				err := errors.Join(wal.MakeDir(files, filepath.Dir(path)), wal.WriteFileAtomic(files, path, nil))
				return stable, io.NopCloser(nil), err // a start without the file is refused
			}
			configs[cfg.Name] = *cfg
		})
		leader, next, lowered := b.leaderAndOthers(t)
		mustTransfer(t, leader, next)
		mustTransfer(t, next, leader) // each has led, and knows what the others announce
		b.holdBetween(next, lowered)
		if err := lowered.Close(); err != nil {
			t.Fatal(err)
		}
		cfg := configs[lowered.cfg.Name]
		cfg.PeerListener, cfg.MaxCommandVersion = b.listen(cfg.AdvertisePeer), 1
		again, err := Open(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = again.Close() })
		eventually(t, "the leader hears of it", func() error {
			if version, _ := leader.announcedBy(again.id()); version != 1 {
				return fmt.Errorf("it knows of version %d", version)
			}
			return nil
		})
		if version, firsthand := next.announcedBy(again.id()); version != fsm.Version || !firsthand {
			t.Fatalf("the next leader knows of version %d, firsthand %v", version, firsthand)
		}
		mustTransfer(t, leader, next)
		done := make(chan error, 1)
		go func() {
			_, err := next.Do(soon(t), two("a", "b"))
			done <- err
		}()
		time.Sleep(100 * time.Millisecond)
		b.letAll()
		if err := <-done; !errors.Is(err, kv.ErrUnsupported) || !strings.Contains(err.Error(), again.cfg.Name+" announces 1") {
			t.Errorf("got %v, want a kv.ErrUnsupported that names %s", err, again.cfg.Name)
		}
	})
}

// mustTransfer has one node hand leadership to another.
func mustTransfer(t *testing.T, from, to *Node) {
	t.Helper()
	if err := from.Transfer(soon(t), to.cfg.Name); err != nil {
		t.Fatal(err)
	}
	awaitLeads(t, to)
}

// TestVersions_NewTermAsksFirst: in a new term newer commands wait, and are not refused,
// until the members have been asked in that term.
func TestVersions_NewTermAsksFirst(t *testing.T) {
	table := &versionTable{members: []raft.ServerID{"n1.a"}, said: map[raft.ServerID]uint8{"n1.a": 3}}
	v := newVersions(3, table.servers, table.announced)
	expect := func(what string, waits bool) {
		t.Helper()
		if err := v.allows(1); err != nil {
			t.Errorf("%s: version 1: %v", what, err)
		}
		if err := v.allows(2); errors.Is(err, kv.ErrTimeout) != waits || err == nil == waits {
			t.Errorf("%s: got %v, want that it waits: %v", what, err, waits)
		}
	}
	expect("before the first term", true)
	v.begin(5)
	v.update()
	expect("term 5 has begun", true)
	v.begin(7)
	v.asked(5)
	expect("term 7 has begun, and the members answer what term 5 asked", true)
	v.asked(7)
	expect("they have answered", false)
}

// TestVersions_AreExactUnderConcurrency has members change while others look: the last
// change is never lost.
func TestVersions_AreExactUnderConcurrency(t *testing.T) {
	table := &versionTable{members: []raft.ServerID{"n1.a"}, said: map[raft.ServerID]uint8{"n1.a": 3}}
	v := newVersions(3, table.servers, table.announced)
	v.asked(0)
	ended := make(chan struct{})
	for i := range 8 {
		go func() {
			defer func() { ended <- struct{}{} }()
			for range 200 {
				done := v.join(raft.ServerID(fmt.Sprintf("x%d.a", i)), 1)
				if v.allows(2) == nil {
					t.Error("version 2 may be written while a node joins that does not understand it")
				}
				done()
			}
		}()
	}
	for range 8 {
		<-ended
	}
	expectAllowed(t, v, "all have gone", 3, "")
}
