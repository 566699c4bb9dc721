package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/cluster/discovery"
	"github.com/kvorum/kvorum/cluster/raftstore"
	"github.com/kvorum/kvorum/cluster/recovery"
	"github.com/kvorum/kvorum/cluster/replica"
	"github.com/kvorum/kvorum/fsm"
	"github.com/kvorum/kvorum/internal/nodeid"
	"github.com/kvorum/kvorum/kv"
	"github.com/kvorum/kvorum/transport"
	"github.com/kvorum/kvorum/wal"
)

// bookFile is the address book's name below the data directory.
const bookFile = "peers.json"

// Node is one member of a cluster, or on its way to become one. All methods
// are safe for concurrent use.
type Node struct {
	cfg    Config
	log    *slog.Logger
	fatal  *replica.Fatal
	lock   io.Closer // of the data directory
	book   addressBook
	peers  *transport.Transport
	gossip Discovery
	plan   *bootstrapPlan // used by bootstrapLoop alone once Open has returned

	// changes is a lock with one slot, for one change of the configuration, or transfer of
	// leadership, at a time.
	changes chan struct{}
	joining nameLocks
	health  *health
	waits   *waits
	// accepting is a lock with one slot, for one decision which cluster this node belongs to.
	accepting chan struct{}

	// opened is closed when Open has set every field above; peers are answered from then on.
	opened chan struct{}

	mu      sync.RWMutex
	ident   nodeid.Identity  // guarded by mu
	replica *replica.Replica // guarded by mu; nil while the node is in no cluster
	state   *fsm.FSM         // of replica, for reads; set before it, and the same from then on
	closing bool             // guarded by mu

	cancel context.CancelFunc
	wg     sync.WaitGroup
	differ atomic.Pointer[[]kv.MemberLimits] // members with other limits; nil while this node does not lead

	closeOnce sync.Once
	closeErr  error
}

// Open starts a node on cfg.DataDir, which it makes if it is missing. A node
// that belongs to a cluster serves it again; a new one forms or finds a cluster
// as cfg says. The error is a *kv.ValidationError for cfg,
// ErrDataDirInUse, a *wal.CorruptionError for damaged files, and so on. Then all
// that was opened is closed again, cfg.PeerListener included. If ctx ends
// first, Open ends within a moment, has changed nothing that matters, and returns
// ctx's error. Once Open has returned, ctx has no effect on the node.
func Open(ctx context.Context, cfg Config) (*Node, error) {
	cfg = cfg.withDefaults()
	n := &Node{
		cfg: cfg, log: cfg.Logger, fatal: replica.NewFatal(cfg.Logger),
		changes: make(chan struct{}, 1), health: newHealth(), waits: newWaits(cfg.Logger), accepting: make(chan struct{}, 1), opened: make(chan struct{}),
	}
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	n.cancel = cancel
	cfg.Loading.Begin()
	if err := n.open(ctx, run); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return n, nil
}

// open opens everything, unless load ends first. All goroutines that it starts end with run.
func (n *Node) open(load, run context.Context) error {
	if err := n.openIdentity(); err != nil {
		if n.cfg.PeerListener != nil {
			err = errors.Join(err, n.cfg.PeerListener.Close())
		}
		return err
	}
	self := transport.Identity{
		ID: n.ident.ServerID(), Cluster: n.ident.Cluster, Generation: n.book.NextGeneration(string(n.ident.ServerID())),
		PeerAddr: n.cfg.AdvertisePeer, HTTPAddr: n.cfg.AdvertiseHTTP, CommandVersion: n.cfg.announcedVersion(),
	}
	n.book.begin(self)
	var err error
	if n.peers, err = transport.New(n.transportConfig(self)); err != nil {
		return errors.Join(fmt.Errorf("start peer transport: %w", err), n.cfg.PeerListener.Close())
	}
	if n.ident.Cluster != "" {
		if err := n.startReplica(load); err != nil {
			return err
		}
	}
	if err := load.Err(); err != nil {
		return fmt.Errorf("loading was stopped: %w", err)
	}
	announced := announcementOf(self)
	announced.Expect = n.cfg.BootstrapExpect
	if err := n.discover(run, announced); err != nil {
		return err
	}
	close(n.opened)
	for _, loop := range []func(context.Context){n.bootstrapLoop, n.learnLoop, n.reconcileLoop, n.waitingLoop, n.limitsLoop} {
		n.wg.Go(func() { loop(run) })
	}
	return nil
}

// transportConfig returns the configuration of the transport of a node that is self.
func (n *Node) transportConfig(self transport.Identity) transport.Config {
	c := transport.Config{
		Listener: n.cfg.PeerListener, Identity: self, Resolver: n.book,
		Handler: n.handleRPC, Learn: n.learn, Admit: n.admit, Logger: n.log, Dial: n.cfg.Seams.Dial, TLS: n.cfg.TLS,
		Known: n.book.known, Unreached: n.book.unreached, Displaced: n.displaced,
		PipelineWindow: n.cfg.PipelineWindow, SnapshotBytesPerSecond: n.cfg.SnapshotBytesPerSecond,
		MaxConns:    n.cfg.Descriptors.Peers,
		CurrentTerm: n.raftTerm, Committed: n.committed, Writing: n.writing, AllCommitted: n.allCommitted,
		Durable: n.durable, AwaitDurable: n.awaitDurable,
		StaleSnapshot: n.staleSnapshot, Heard: n.heard, LostTail: n.tellLostTail, Room: n.roomFor,
	}
	if n.cfg.Seams.Untold {
		c.LostTail = nil
	}
	if n.cfg.Seams.Unhurried {
		c.Committed, c.AllCommitted = nil, nil
	}
	return c
}

// discover announces this node and begins to look for others.
func (n *Node) discover(ctx context.Context, self Announcement) error {
	discover := n.cfg.Seams.Discover
	if discover == nil {
		discover = func(self Announcement) (Discovery, error) { return openGossip(ctx, n.cfg, self, n.foreignSeeds) }
	}
	found, err := discover(self)
	if err != nil {
		return err
	}
	n.gossip = found
	return nil
}

// openIdentity locks the data directory, and reads this node's identity or makes one.
// A new incarnation is written only when it is accepted into a cluster.
func (n *Node) openIdentity() error {
	if err := n.cfg.Validate(); err != nil {
		return err
	}
	if err := wal.MakeDir(n.cfg.FS, n.cfg.DataDir); err != nil {
		return fmt.Errorf("make data directory %s: %w", n.cfg.DataDir, err)
	}
	var err error
	if n.lock, err = n.cfg.Seams.LockDir(n.cfg.DataDir); err != nil {
		return err
	}
	if err := recovery.ActOnNote(n.cfg.FS, n.cfg.DataDir, n.log); err != nil {
		return err
	}
	ident, found, err := nodeid.Load(n.cfg.FS, n.cfg.DataDir, raftstore.Names())
	if err != nil {
		return err
	}
	if found && ident.Name != n.cfg.Name {
		return &kv.ValidationError{Field: "id", Reason: fmt.Sprintf("data directory %s belongs to node %s, not %s", n.cfg.DataDir, ident.Name, n.cfg.Name)}
	}
	if !found {
		if err := checkDisk(n.cfg); err != nil {
			return err
		}
		ident = nodeid.Identity{Name: n.cfg.Name, Incarnation: nodeid.NewIncarnation()}
	}
	n.ident = ident
	if n.plan, err = loadPlan(n.cfg.FS, n.cfg.DataDir); err != nil {
		return err
	}
	if n.plan != nil && n.plan.Cluster != ident.Cluster {
		n.plan = nil // written, but not accepted by this node itself: nobody was asked
	}
	n.book.Book, err = discovery.OpenBook(n.cfg.FS, filepath.Join(n.cfg.DataDir, bookFile), n.log)
	return err
}

// accept makes this node a member of a cluster, for good. A node belongs to one
// cluster, and accepts the same one as often as it is asked.
func (n *Node) accept(cluster string) error {
	n.accepting <- struct{}{}
	defer func() { <-n.accepting }()
	ident := n.identity()
	switch ident.Cluster {
	case cluster:
		return nil
	case "":
	default:
		return fmt.Errorf("%w: %s is of cluster %s, not %s", kv.ErrOtherCluster, ident.Name, ident.Cluster, cluster)
	}
	ident.Cluster = cluster
	if err := nodeid.Write(n.cfg.FS, n.cfg.DataDir, ident); err != nil {
		err = fmt.Errorf("accept cluster %s: %w", cluster, err)
		n.fatal.Fail(err)
		return err
	}
	n.mu.Lock()
	n.ident = ident
	n.mu.Unlock()
	n.peers.SetCluster(cluster)
	if err := n.startReplica(context.Background()); err != nil {
		n.fatal.Fail(err)
		return err
	}
	n.log.Info("belongs to a cluster now", "cluster", cluster)
	n.wg.Go(func() { n.gossip.SetCluster(cluster) })
	return nil
}

// startReplica opens the replica once the node belongs to a cluster.
// Its caller is Open, or holds the accepting slot. It ends early if load ends.
func (n *Node) startReplica(load context.Context) error {
	state := fsm.New(fsm.Config{
		OnFatal: n.fatal.Fail, Logger: n.log, Version: n.cfg.understands(), AnswerAwaited: true, Seams: n.cfg.Seams.State,
	})
	r, err := replica.Open(load, n.replicaConfig(state))
	if err != nil {
		return err
	}
	if joined := n.cfg.Seams.Joined; joined != nil {
		joined(r, state, n.peers)
	}
	n.mu.Lock()
	closing := n.closing
	if !closing {
		n.state, n.replica = state, r
	}
	n.mu.Unlock()
	if closing {
		return errors.Join(kv.ErrClosed, r.Close(func() error { return nil }))
	}
	return nil
}

// replicaConfig returns the configuration of this node's replica on a state machine.
func (n *Node) replicaConfig(state *fsm.FSM) replica.Config {
	c := n.cfg
	return replica.Config{
		Identity: n.identity(), DataDir: c.DataDir, FS: c.FS, Machine: state, Peers: n.peers, Fatal: n.fatal,
		Announced: n.announcedBy, Version: c.understands(), NonVoter: c.NonVoter,
		MaxKeyBytes: c.MaxKeyBytes, Limits: partLimits(c.MaxValueBytes), Memory: c.Memory, MaxDataBytes: c.MaxDataBytes, MaxPendingBytes: c.MaxPendingBytes,
		SnapshotBytes: c.SnapshotBytes, BallastBytes: c.BallastBytes, OpenSegments: openSegments,
		CheckpointInterval: c.CheckpointInterval, Timing: c.Timing, Logger: c.Logger, Loading: c.Loading, Seams: c.Seams.Seams,
	}
}

// joined returns the replica, or an error that says why there is none.
func (n *Node) joined() (*replica.Replica, error) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	switch {
	case n.closing:
		return nil, kv.ErrClosed
	case n.replica == nil:
		return nil, kv.ErrNotJoined
	}
	return n.replica, nil
}

// foreignSeeds stops a node whose data directory belongs to another
// cluster than its seeds.
func (n *Node) foreignSeeds(err error) {
	n.fatal.Fail(fmt.Errorf("data directory %s: %w", n.cfg.DataDir, err))
}

// displaced stops a node because another process has its id too.
func (n *Node) displaced(refused *transport.RefusedError) {
	n.fatal.Fail(fmt.Errorf("%w: %s runs twice: %s says that %s; a data directory must not be copied, nor run twice",
		ErrDuplicate, n.id(), nameOf(refused.Peer.ID), refused.Message))
}

func (n *Node) identity() nodeid.Identity {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.ident
}

// id returns this node's server id, which never changes while it is open.
func (n *Node) id() raft.ServerID { return n.identity().ServerID() }

// Fatal returns a channel that is closed when the node can't continue safely. Err then
// returns the reason. The node's owner still has to call Close.
func (n *Node) Fatal() <-chan struct{} { return n.fatal.Done() }

// Err returns the reason why Fatal is closed, nil while it is open. Left says whether the
// reason is that the node has left its cluster, as it was told to.
func (n *Node) Err() error { return n.fatal.Reason() }

// Ready returns nil if the node can serve linearizable requests. Otherwise the error says why
// not, and what the node waits for.
func (n *Node) Ready() error {
	err := n.ready()
	if err == nil {
		return nil
	}
	if w := n.Waiting(); w != nil {
		return fmt.Errorf("%w: %s", err, w)
	}
	return err
}

func (n *Node) ready() error {
	if err := n.fatal.Reason(); err != nil {
		return err
	}
	r, err := n.joined()
	if err != nil {
		return err
	}
	return r.Ready()
}

// GossipAddr returns the address that gossip is bound to.
func (n *Node) GossipAddr() string { return n.gossip.Addr() }

// Close stops the node and waits until all of it has ended. It does not leave
// the cluster, and hands leadership over only if TransferLeadership was called
// before. It is idempotent; later calls return the result of the first.
func (n *Node) Close() error {
	n.closeOnce.Do(func() { n.closeErr = n.close() })
	return n.closeErr
}

// close stops each part before the parts that it depends on.
func (n *Node) close() error {
	n.mu.Lock()
	n.closing = true // requests are refused from here on
	r := n.replica
	n.mu.Unlock()
	n.cancel() // loops of this node make no more changes
	var errs []error
	if n.gossip != nil {
		errs = append(errs, n.gossip.Close()) // others learn that this process goes
	}
	closePeers := func() error { return nil }
	if n.peers != nil {
		closePeers = n.peers.Close
	}
	if r != nil {
		errs = append(errs, r.Close(closePeers)) // raft, then its messages, then its files
	} else {
		errs = append(errs, closePeers())
	}
	n.wg.Wait()
	if n.book.Book != nil {
		errs = append(errs, n.book.Close())
	}
	if n.lock != nil {
		errs = append(errs, n.lock.Close()) // last: another process may open the directory now
	}
	return errors.Join(errs...)
}
