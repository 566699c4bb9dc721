package replica

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/cluster/clock"
	"github.com/kvorum/kvorum/cluster/leadership"
	"github.com/kvorum/kvorum/cluster/propose"
	"github.com/kvorum/kvorum/cluster/raftlog"
	"github.com/kvorum/kvorum/cluster/raftstore"
	"github.com/kvorum/kvorum/cluster/recovery"
	"github.com/kvorum/kvorum/cluster/room"
	"github.com/kvorum/kvorum/internal/loglimit"
	"github.com/kvorum/kvorum/internal/wire"
	"github.com/kvorum/kvorum/kv"
	"github.com/kvorum/kvorum/transport"
)

const (
	// snapshotsRetained is the number of snapshots that are kept on disk while there is room.
	snapshotsRetained = 2
	// MaxAppendEntries is the maximum number of entries of one AppendEntries message. An
	// entry is a batch of up to propose.MaxBatchBytes, and raft has no other limit.
	MaxAppendEntries = 16
)

// Replica is one member of a raft group: the log, the state machine and the raft
// instance between them. All methods are safe for concurrent use.
type Replica struct {
	id    raft.ServerID
	cfg   Config
	log   *slog.Logger
	lines *loglimit.Lines // for lines that may repeat
	fatal *Fatal
	peers *transport.Transport

	memory  *room.Memory
	gone    atomic.Uint64 // odd while the state is dropped for a snapshot; see restorer
	stores  *raftstore.Stores
	logs    *raftstore.Log       // of stores
	snaps   *raftstore.Snapshots // of stores
	machine Machine
	clock   clockReading // of the machine
	raft    *raft.Raft

	leaders  *leadership.Tracker
	count    clock.Count // the cluster clock, as the leaders have told it
	run      uint64      // a random number of this process; see clock.Reading
	versions *versions
	proposer *propose.Proposer
	reader   *reader

	// writing is a lock with one slot. Its holder writes a batch to the log, or hands
	// leadership over.
	writing  chan struct{}
	stuck    stuckTransfer
	asks     asks
	verified atomic.Uint64 // index of the newest checkpoint at which a majority has this state
	noted    atomic.Uint64 // index of a checkpoint at which the state had diverged; 0 for none
	unsound  atomic.Pointer[DivergenceError]

	disk         *room.Disk
	quorum       *room.Quorum
	total        int64         // bytes of the disk, 0 if it does not report them
	segmentBytes int64         // of a segment of the log
	snapshotting chan struct{} // a lock with one slot, held while a snapshot is taken, or log dropped on a full disk
	// overtaken is why the newest snapshot was not written to its end, because another program took
	// its room; nil if that was not so.
	overtaken atomic.Pointer[error]

	tight         chan struct{} // makes watchDisk remove an older snapshot; it has one slot
	ballastFailed time.Time     // of the last failure to make the ballast; belongs to watchDisk
	noting        chan struct{} // a lock with one slot, held while a lost tail is noted

	fresh freshness

	observer  *raft.Observer
	observed  chan raft.Observation
	corrected chan struct{} // makes expire look at the clock again; it has one slot
	leases    leaseTerms
	// leaseClock makes expireLeases look at the clock again. It has one slot.
	leaseClock chan struct{}
	keeper     keeper
	caughtUp   atomic.Bool // the first linearizable read since the start has succeeded

	loaded   uint64        // index of the snapshot that was restored; 0 for none
	replayTo atomic.Uint64 // the last index of the log when it was opened

	ctx    context.Context // ends when Close begins
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// Open opens the stores below cfg.DataDir, makes the newest snapshot the state, and starts
// raft. If load ends first, Open ends early with load's error; afterwards load has no effect.
// If Open returns an error, it has left nothing open.
func Open(load context.Context, cfg Config) (*Replica, error) {
	cfg = cfg.withDefaults()
	r := &Replica{
		id: cfg.Identity.ServerID(), cfg: cfg, log: cfg.Logger, lines: loglimit.ForLoop(cfg.Logger), fatal: cfg.Fatal, peers: cfg.Peers,
		machine: cfg.Machine, leaders: leadership.New(), writing: make(chan struct{}, 1), observed: make(chan raft.Observation, 16),
		snapshotting: make(chan struct{}, 1), tight: make(chan struct{}, 1), noting: make(chan struct{}, 1),
		corrected: make(chan struct{}, 1), leaseClock: make(chan struct{}, 1), run: rand.Uint64() | 1,
	}
	r.disk = room.NewDisk(r.measureDisk)
	r.ctx, r.cancel = context.WithCancel(context.Background())
	if err := r.open(load); err != nil {
		r.cancel()
		if r.stores != nil {
			err = errors.Join(err, r.stores.Close())
		}
		return nil, err
	}
	r.versions = newVersions(cfg.Version, r.Servers, cfg.Announced)
	r.proposer = propose.New(cfg.MaxPendingBytes, cfg.Timing.Election, r.leaders, route{r})
	r.reader = newReader(r.ctx, r.readIndex)
	r.leases.begun = make(chan struct{}, 1)
	r.keeper.ctx = r.ctx
	r.keeper.ask = func(ctx context.Context, ids []kv.LeaseID) ([]byte, error) {
		return r.leaseQuestion(ctx, kindKeepAlive, ids, r.leaderKeepAlive)
	}
	if started := cfg.Seams.Started; started != nil {
		started(r.raft, r.stores)
	}
	r.start(r.watchLeadership, r.beginTerms, r.compactLoop, r.watchLog, r.watchDisk, r.watchMemory, r.catchUp, r.compareStates, r.retain, r.expire, r.expireLeases, r.shrink, r.gatherReads, r.followClocks, r.watchSilence, r.tellCommitted, r.proposer.Run, r.endWaits)
	return r, nil
}

// open opens the parts of the replica, the lowest first.
func (r *Replica) open(load context.Context) error {
	done := make(chan struct{})
	defer close(done)
	go r.cfg.Loading.watch(r.log, done)
	r.memory = room.NewMemory(r.cfg.Memory, r.cfg.MaxDataBytes, r.machine, r.cfg.Seams.Heap)
	r.quorum = room.NewQuorum(r.disk, r.memory, voters{r})
	if err := r.openStores(load); err != nil {
		return err
	}
	note, err := recovery.ReadNote(r.cfg.FS, r.cfg.DataDir)
	if err != nil {
		return err
	}
	r.noted.Store(note.Index)
	return r.startRaft(load)
}

func (r *Replica) raftConfig() *raft.Config {
	c := raft.DefaultConfig()
	c.LocalID = r.id
	c.HeartbeatTimeout = r.cfg.Timing.Heartbeat
	c.ElectionTimeout = r.cfg.Timing.Election
	c.LeaderLeaseTimeout = r.cfg.Timing.Lease
	c.CommitTimeout = r.cfg.Timing.Commit
	c.MaxAppendEntries = cmp.Or(r.cfg.Memory.AppendEntries, MaxAppendEntries)
	c.TrailingLogs = 1                   // the log store decides, by bytes
	c.SnapshotThreshold = math.MaxUint64 // compactLoop decides
	c.ShutdownOnRemove = false           // removal is reported by Fatal, see removed
	c.NoSnapshotRestoreOnStart = true    // restoreNewest has done it
	c.NoLegacyTelemetry = true
	c.Logger = raftlog.New(r.log)
	return c
}

// start runs each of loops on a goroutine that ends with the replica's context.
func (r *Replica) start(loops ...func(context.Context)) {
	r.observer = raft.NewObserver(r.observed, false, func(o *raft.Observation) bool {
		switch o.Data.(type) {
		case raft.LeaderObservation, raft.RaftState:
			return true
		}
		return false
	})
	r.raft.RegisterObserver(r.observer)
	for _, loop := range loops {
		r.wg.Go(func() { loop(r.ctx) })
	}
}

// catchUp makes one linearizable read after the start, which shows that this
// node has a leader and has applied all that was acknowledged before.
func (r *Replica) catchUp(ctx context.Context) {
	next, pause := time.Now().Add(firstLoadReport), firstLoadReport
	for ctx.Err() == nil {
		attempt, cancel := context.WithTimeout(ctx, time.Second)
		err := r.waitCurrent(attempt)
		cancel()
		if err == nil {
			r.caughtUp.Store(true)
			r.log.Info("serving", "after", r.cfg.Loading.took(), "keys", r.machine.Len(), "applied", r.machine.AppliedIndex())
			return
		}
		if _, ok := r.replaying(); ok && time.Now().After(next) {
			r.cfg.Loading.report(r.log)
			pause = min(2*pause, maxLoadReport)
			next = time.Now().Add(pause)
		}
	}
}

// endWaits ends all waits at once when the node must stop, because no entry and no leader
// will arrive. Requests that were sent are unknown, others are not done. A node
// that has left its cluster still answers the request to leave.
func (r *Replica) endWaits(ctx context.Context) {
	select {
	case <-r.fatal.Done():
	case <-ctx.Done():
		return
	}
	if Left(r.fatal.Reason()) {
		return
	}
	if r.logs.Failed() != nil {
		// Raft may learn of it only from its next entry, and would lead until then.
		_ = r.peers.CloseRaft() // always nil
	}
	r.cancel()
	r.proposer.Stop()
	_ = r.machine.Close() // ends the waits for an entry; it has no error
}

// Propose has requests put into the log and applied, and returns their responses, one
// after the other, each with its length before it. It may be called on any member. Its error
// is kv.ErrUnknownOutcome, or one of another class if the requests were not done. After an
// error the replica may still read requests.Data; otherwise it no longer does.
func (r *Replica) Propose(ctx context.Context, requests wire.Requests) ([]byte, error) {
	return r.proposer.Propose(ctx, requests, false)
}

// ProposeOwn is Propose for requests that only the leader itself may write. The error is
// kv.ErrNotLeader unless this replica leads.
func (r *Replica) ProposeOwn(ctx context.Context, requests wire.Requests) ([]byte, error) {
	return r.proposer.Propose(ctx, requests, true)
}

// Ready returns nil if this replica can serve linearizable requests, and otherwise why not.
func (r *Replica) Ready() error {
	if state, _ := r.leaders.Current(); state.Leader == "" {
		return kv.ErrNoLeader
	}
	if r.caughtUp.Load() {
		return nil
	}
	if status, ok := r.replaying(); ok {
		return &kv.LoadingError{Status: status}
	}
	return kv.ErrBehind
}

// Done is closed when Close begins, or when the replica must stop: no request is served
// any more.
func (r *Replica) Done() <-chan struct{} { return r.ctx.Done() }

// Close stops raft and everything above it, and then closes the files and the state
// machine. Raft's part of the transport is closed first, so that nobody waits for a peer: a
// snapshot in flight ends, and a leader has no majority any more. closePeers closes the rest
// of the transport. Close calls it once raft has ended. Close must be called once.
func (r *Replica) Close(closePeers func() error) error {
	r.cancel() // no new batches, rounds or snapshots
	answered := r.asks.close()
	select {
	case <-answered:
	case <-r.fatal.Done(): // it may be an entry at which the state machine has stopped
	case <-time.After(2 * r.cfg.Timing.Lease): // a majority may be busy
	}
	err := r.machine.Close() // lets its apply, and the writing of a snapshot, return
	err = errors.Join(err, r.peers.CloseRaft())
	<-answered
	err = errors.Join(err, r.raft.Shutdown().Error())
	err = errors.Join(err, closePeers()) // no message arrives any more
	r.raft.DeregisterObserver(r.observer)
	r.wg.Wait()
	r.reader.close()
	r.keeper.close()
	return errors.Join(err, r.stores.Close()) // nothing writes any more
}
