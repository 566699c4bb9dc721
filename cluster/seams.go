package cluster

import (
	"cmp"
	"context"
	"io"
	"net"
	"net/netip"
	"time"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/cluster/replica"
	"github.com/kvorum/kvorum/fsm"
	"github.com/kvorum/kvorum/internal/dirlock"
	"github.com/kvorum/kvorum/transport"
)

// Seams replace what a node takes from the machine that it runs on, so that a
// whole cluster can run inside a test with a network, disks and time of the
// test's own. A nil field, or a zero one, is the real thing; programs leave all of them so.
type Seams struct {
	replica.Seams

	// Dial opens a connection to a peer's host:port. Nil is TCP.
	Dial func(ctx context.Context, addr string) (net.Conn, error)
	// Discover starts to announce self and to look for other nodes; the node
	// closes what it returns. Nil is gossip on Config.GossipAddr.
	Discover func(self Announcement) (Discovery, error)
	// LookupIP returns the addresses of a host name for gossip. Nil is the machine's resolver.
	LookupIP func(ctx context.Context, host string) ([]netip.Addr, error)
	// LockDir keeps the data directory to this node until what it returns is
	// closed. Nil is a lock of the operating system.
	LockDir func(dir string) (io.Closer, error)
	// CommandVersion makes the node one of an older build, which understands commands up
	// to this version and stops at a newer one. 0 is this build.
	CommandVersion uint8
	// MinDeadServerAfter replaces the constant of that name; 0 is the constant.
	MinDeadServerAfter time.Duration
	// Untold makes this node, as the leader, not tell a follower that its log has lost its end.
	Untold bool
	// Unhurried makes this node, as the leader, leave it to raft to tell followers what is
	// committed.
	Unhurried bool
	// State breaks the state machine.
	State fsm.Seams
	// Joined is called with the parts that a test may look into or break, once the node has
	// a replica.
	Joined func(*replica.Replica, *fsm.FSM, *transport.Transport)
}

// Discovery tells a node of the others that are there. It is a hint, and may be
// wrong or late in every way. All methods are safe for concurrent use.
type Discovery interface {
	// Members returns the announcements of live nodes, this one included; of several
	// processes with one id that of the newest.
	Members() map[raft.ServerID]Announcement
	// Changed returns a channel that receives when Members may have changed.
	// Several changes may come as one.
	Changed() <-chan struct{}
	// Join asks the nodes at these addresses for others; one that answers is enough.
	Join(addrs []string) error
	// Addrs returns addresses for another node's Join.
	Addrs() []string
	// SetCluster announces that this node now belongs to a cluster.
	SetCluster(cluster string)
	// Addr returns the address that this node is found at.
	Addr() string
	// Close tells the others that this process goes, and waits until all has ended.
	Close() error
}

// withDefaults returns s with the fields set that have a default other than zero.
func (s Seams) withDefaults() Seams {
	if s.LockDir == nil {
		s.LockDir = lockDir
	}
	s.MinDeadServerAfter = cmp.Or(s.MinDeadServerAfter, MinDeadServerAfter)
	return s
}

func lockDir(dir string) (io.Closer, error) {
	lock, err := dirlock.Acquire(dir)
	if err != nil {
		return nil, err // and no lock that is a nil pointer
	}
	return lock, nil
}
