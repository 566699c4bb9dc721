#!/usr/bin/env bash
# github.com/hashicorp/raft v1.8.0: how long a leader can be silent.
#
# Guess: with a HeartbeatTimeout of T ("the time in follower state without contact
#        from a leader before we attempt an election") a follower stands for election
#        at a random moment between T and 2 T after the last contact, as in the Raft
#        paper.
# Found: between T and 3 T. The last contact doesn't set the follower's timer. The
#        timer runs on its own, each time for a random length of T to 2 T, and only
#        when it ends does the follower look how old the last contact is. A timer that
#        ends just before the contact is T old is followed by another whole one.
#        Until it stands itself, a follower refuses to vote for another node. So two
#        followers of three nodes elect a leader only once the slower one stands, in
#        the median about 2 T after the last contact.
# Count with 3 T, not with 2 T, when a time without a leader is to be promised.
#
# Output seen (2026-11-28, go1.26.8, linux/amd64; it differs a little each time):
#   a follower stands for election: min 1.01 T, median 1.75 T, max 2.94 T, of 400
#   the followers have a new leader: min 1.08 T, median 2.09 T, max 2.94 T, of 200
#
# It takes some seconds, installs raft in a temporary folder, and fails if any of this
# has changed. Its time is the simulated one of testing/synctest, so that the load of
# the machine has no part in it. The nodes talk in memory.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

cat > go.mod <<'EOF'
module finding

go 1.26

require github.com/hashicorp/raft v1.8.0
EOF

cat > silent_test.go <<'EOF'
package finding

import (
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
)

const (
	timeout = time.Second // T: HeartbeatTimeout and ElectionTimeout, as they are by default
	cuts    = 200
)

// nothing is a state machine without a state.
type nothing struct{}

func (nothing) Apply(*raft.Log) any                 { return nil }
func (nothing) Snapshot() (raft.FSMSnapshot, error) { return nil, io.EOF }
func (nothing) Restore(r io.ReadCloser) error       { return r.Close() }

type node struct {
	*raft.Raft
	address   raft.ServerAddress
	transport *raft.InmemTransport
}

func start(t *testing.T, count int) []*node {
	var nodes []*node
	var all raft.Configuration
	for range count {
		at, transport := raft.NewInmemTransport("")
		nodes = append(nodes, &node{address: at, transport: transport})
		all.Servers = append(all.Servers, raft.Server{ID: raft.ServerID(at), Address: at})
	}
	for _, n := range nodes {
		c := raft.DefaultConfig()
		c.LocalID, c.LogOutput = raft.ServerID(n.address), io.Discard
		c.HeartbeatTimeout, c.ElectionTimeout = timeout, timeout
		store, snapshots := raft.NewInmemStore(), raft.NewInmemSnapshotStore()
		if err := raft.BootstrapCluster(c, store, store, snapshots, n.transport, all); err != nil {
			t.Fatal(err)
		}
		var err error
		if n.Raft, err = raft.NewRaft(c, nothing{}, store, store, snapshots, n.transport); err != nil {
			t.Fatal(err)
		}
	}
	return nodes
}

// connect opens the ways between a node and the others.
func connect(one *node, all []*node) {
	for _, n := range all {
		if n != one {
			one.transport.Connect(n.address, n.transport)
			n.transport.Connect(one.address, one.transport)
		}
	}
}

// disconnect cuts them.
func disconnect(one *node, all []*node) {
	for _, n := range all {
		if n != one {
			one.transport.Disconnect(n.address)
			n.transport.Disconnect(one.address)
		}
	}
}

// leader waits until all nodes follow one leader, and returns it.
func leader(nodes []*node) *node {
	for ; ; time.Sleep(time.Millisecond) {
		for _, n := range nodes {
			other := func(f *node) bool { at, _ := f.LeaderWithID(); return at != n.address }
			if n.State() == raft.Leader && !slices.ContainsFunc(nodes, other) {
				return n
			}
		}
	}
}

// watch looks at the followers of a leader that was cut off just now, each millisecond
// until one of them leads. It returns how long after its last contact each one stood for
// election, and how long after the last contact of any one there was a leader.
func watch(followers []*node) (stood []time.Duration, led time.Duration) {
	var last time.Time
	contact := make(map[*node]time.Time) // of those that have not stood
	for _, f := range followers {
		contact[f] = f.LastContact()
		if contact[f].After(last) {
			last = contact[f]
		}
	}
	for ; led == 0; time.Sleep(time.Millisecond) {
		synctest.Wait()
		for _, f := range followers {
			state := f.State()
			if at, ok := contact[f]; ok && state != raft.Follower {
				stood = append(stood, time.Since(at))
				delete(contact, f)
			}
			if state == raft.Leader {
				led = time.Since(last)
			}
		}
	}
	return stood, led
}

// check prints the times in units of T, and fails unless they are as found.
func check(t *testing.T, what string, times []time.Duration) {
	slices.Sort(times)
	in := func(d time.Duration) float64 { return float64(d) / float64(timeout) }
	least, median, most := in(times[0]), in(times[len(times)/2]), in(times[len(times)-1])
	fmt.Printf("%s: min %.2f T, median %.2f T, max %.2f T, of %d\n", what, least, median, most, len(times))
	if least < 1 || most < 2 || most > 3.1 {
		t.Errorf("%s: not as found", what)
	}
}

func TestSilentLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nodes := start(t, 3)
		for _, n := range nodes {
			connect(n, nodes)
		}
		var stood, led []time.Duration
		for range cuts {
			leader(nodes)
			time.Sleep(5*timeout + rand.N(5*timeout))
			old := leader(nodes)
			disconnect(old, nodes)
			synctest.Wait()
			s, l := watch(slices.DeleteFunc(slices.Clone(nodes), func(n *node) bool { return n == old }))
			stood, led = append(stood, s...), append(led, l)
			connect(old, nodes)
		}
		check(t, "a follower stands for election", stood)
		check(t, "the followers have a new leader", led)
		for _, n := range nodes {
			if err := n.Shutdown().Error(); err != nil {
				t.Error(err)
			}
		}
	})
}
EOF

go mod tidy 2>/dev/null
go test -count=1 -v . && echo "as found"
