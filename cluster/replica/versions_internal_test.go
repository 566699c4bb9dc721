package replica

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/kv"
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
