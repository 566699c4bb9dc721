package cluster

import (
	"context"
	"io"
	"net"
	"net/netip"
	"time"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/cluster/raftstore"
	"github.com/kvorum/kvorum/cluster/room"
	"github.com/kvorum/kvorum/internal/dirlock"
	"github.com/kvorum/kvorum/wal"
)

// Seams replace what a node takes from the machine that it runs on, so that a
// whole cluster can run inside a test with a network, disks and time of the
// test's own. A nil field means the real thing; programs leave all of them nil.
type Seams struct {
	// Dial opens a connection to a peer's host:port. Nil is TCP.
	Dial func(ctx context.Context, addr string) (net.Conn, error)
	// Discover starts to announce self and to look for other nodes; the node
	// closes what it returns. Nil is gossip on Config.GossipAddr.
	Discover func(self Announcement) (Discovery, error)
	// LookupIP returns the addresses of a host name for gossip. Nil is the machine's resolver.
	LookupIP func(ctx context.Context, host string) ([]netip.Addr, error)
	// OpenStable opens, or makes, the store below term and vote at path. Its
	// writes must be atomic and durable on return. Nil is a bolt file.
	OpenStable func(path string) (raft.StableStore, io.Closer, error)
	// LockDir keeps the data directory to this node until what it returns is
	// closed. Nil is a lock of the operating system.
	LockDir func(dir string) (io.Closer, error)
	// ConfirmLeader replaces what a leader does before a linearizable read to be
	// sure that it leads. It is for tests which show that something weaker is
	// caught. Nil is a round of probes.
	ConfirmLeader func(*raft.Raft) error
	// CountAsker replaces the rule by which a leader counts the node that asks it for
	// an index to read at among those who have not gone beyond its term; see
	// leaderIndexFor. It is for tests which show that something weaker is caught.
	CountAsker func(votes bool, askersTerm, term uint64) bool
	// CommandVersion makes the node one of an older build, which understands commands up
	// to this version and stops at a newer one. 0 is this build.
	CommandVersion uint8
	// AllowVersion replaces the rule by which a leader may write commands of a version;
	// see versions. It is for tests which show that something weaker is caught.
	AllowVersion func(version uint8) error
	// Committed replaces the commit index that a leader tells its followers. It is for
	// tests which show what becomes of one that is wrong. Nil is raft's.
	Committed func(*raft.Raft) uint64
	// OpenLog changes how the log is opened. It is for tests which show what is lost
	// without a measure of the log's. Nil changes nothing.
	OpenLog func(*wal.Options)
	// Heap is what the node asks of the memory of the process. Nil is room.GoHeap.
	Heap room.Heap
	// Clock is the node's wall clock. Nil is time.Now.
	Clock func() time.Time
}

// Discovery tells a node of the others that are there. It is a hint, and may be
// wrong or late in every way. All methods are safe for concurrent use.
type Discovery interface {
	// Members returns what live nodes announce, this one included; of several
	// processes with one id the newest.
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

// withDefaults returns s with every nil field set to the real thing, but for
// Discover and ConfirmLeader, which need a running node, and LookupIP, which gossip
// has a default for.
func (s Seams) withDefaults() Seams {
	if s.OpenStable == nil {
		s.OpenStable = raftstore.OpenBolt
	}
	if s.LockDir == nil {
		s.LockDir = lockDir
	}
	if s.CountAsker == nil {
		s.CountAsker = countAsker
	}
	if s.Heap == nil {
		s.Heap = room.GoHeap{}
	}
	if s.Clock == nil {
		s.Clock = time.Now
	}
	return s
}

func lockDir(dir string) (io.Closer, error) {
	lock, err := dirlock.Acquire(dir)
	if err != nil {
		return nil, err // and no lock that is a nil pointer
	}
	return lock, nil
}
