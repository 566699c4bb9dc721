package clustertest

import (
	"sync"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/cluster"
)

// Board is a cluster.Discovery through which all nodes of a test see each other.
type Board struct {
	mu      sync.Mutex
	members map[*notice]cluster.Announcement // guarded by mu
}

// notice is what one node has posted.
type notice struct {
	board   *Board
	changed chan struct{} // one slot
}

// NewBoard returns a board without nodes.
func NewBoard() *Board { return &Board{members: make(map[*notice]cluster.Announcement)} }

// Post is a value for Seams.Discover.
func (b *Board) Post(self cluster.Announcement) (cluster.Discovery, error) {
	n := &notice{board: b, changed: make(chan struct{}, 1)}
	b.update(func() { b.members[n] = self })
	return n, nil
}

func (b *Board) update(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f()
	for n := range b.members {
		select {
		case n.changed <- struct{}{}:
		default:
		}
	}
}

func (n *notice) Members() map[raft.ServerID]cluster.Announcement {
	n.board.mu.Lock()
	defer n.board.mu.Unlock()
	seen := make(map[raft.ServerID]cluster.Announcement)
	for _, a := range n.board.members {
		seen[raft.ServerID(a.ID)] = a
	}
	return seen
}

func (n *notice) Changed() <-chan struct{} { return n.changed }
func (n *notice) Join([]string) error      { return nil }
func (n *notice) Addrs() []string          { return nil }
func (n *notice) Addr() string             { return "" }

func (n *notice) SetCluster(id string) {
	n.board.update(func() {
		a := n.board.members[n]
		a.Cluster = id
		n.board.members[n] = a
	})
}

func (n *notice) Close() error {
	n.board.update(func() { delete(n.board.members, n) })
	return nil
}
