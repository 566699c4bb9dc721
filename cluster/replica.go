package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/cluster/leadership"
	"github.com/kvorum/kvorum/cluster/propose"
	"github.com/kvorum/kvorum/cluster/raftstore"
	"github.com/kvorum/kvorum/cluster/recovery"
	"github.com/kvorum/kvorum/cluster/room"
	"github.com/kvorum/kvorum/fsm"
	"github.com/kvorum/kvorum/internal/loglimit"
	"github.com/kvorum/kvorum/internal/nodeid"
	"github.com/kvorum/kvorum/kv"
	"github.com/kvorum/kvorum/transport"
	"github.com/kvorum/kvorum/wal"
)

const (
	// snapshotsRetained is the number of snapshots that are kept on disk while there is room.
	snapshotsRetained = 2
	// maxAppendEntries is the maximum number of entries of one AppendEntries message. An
	// entry is a batch of up to propose.MaxBatchBytes, and raft has no other limit.
	maxAppendEntries = 16
	// enqueueTimeout is how long a batch may wait for raft to take it.
	enqueueTimeout = 2 * time.Second
	// maxEntryBytes is the maximum size of an entry that enters the log: less than a frame of
	// the log, or a message to a peer, may have. The log's refusal would stop the node.
	maxEntryBytes = wal.MaxPayload - 64<<10
	// defaultStuckTransferLimit is how long raft may refuse writes for a transfer of leadership.
	defaultStuckTransferLimit = 10 * time.Second
)

// replica is the consensus half of a node: the log, the state machine and the
// raft instance between them. A node has one from the moment it belongs to a
// cluster until it is closed.
type replica struct {
	id    raft.ServerID
	cfg   Config
	log   *slog.Logger
	lines *loglimit.Lines // what may repeat
	fatal *fatal
	peers *transport.Transport

	memory *room.Memory
	gone   atomic.Uint64 // odd while the state is let go of for a snapshot; see machine
	stores *raftstore.Stores
	logs   *raftstore.Log       // of stores
	snaps  *raftstore.Snapshots // likewise
	fsm    Machine
	state  *fsm.FSM // the same, for reads
	raft   *raft.Raft

	leaders  *leadership.Tracker
	versions *versions
	proposer *propose.Proposer
	reader   *reader

	// writing is held by who writes a batch to the log, or hands leadership over: a
	// lock with one slot.
	writing  chan struct{}
	stuck    stuckTransfer
	asks     asks
	verified atomic.Uint64 // index of the newest checkpoint at which a majority has this state
	noted    atomic.Uint64 // index of a checkpoint at which the state had diverged; 0 for none
	unsound  atomic.Pointer[DivergenceError]

	disk         *room.Disk
	quorum       *room.Quorum
	total        int64         // bytes of the disk, 0 where it does not tell
	segmentBytes int64         // of a segment of the log
	snapshotting chan struct{} // a lock with one slot, held while a snapshot is taken, or log dropped on a full disk

	tight         chan struct{} // has watchDisk remove an older snapshot; it has one slot
	ballastFailed time.Time     // when the ballast could not be made last; belongs to watchDisk
	noting        chan struct{} // a lock with one slot, held while a lost tail is noted

	fresh freshness

	observer *raft.Observer
	observed chan raft.Observation
	caughtUp atomic.Bool // the first linearizable read since the start has succeeded

	loaded   uint64        // index of the snapshot that was restored; 0 for none
	replayTo atomic.Uint64 // the last index of the log when it was opened

	ctx    context.Context // ends when close begins
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// openReplica opens the stores below cfg.DataDir, which belong to ident, and
// starts raft on them. It ends early with load, whose error it returns then. An
// error leaves nothing open. announced says what each node has announced to understand;
// versions.update must be told when that has changed.
func openReplica(load context.Context, cfg Config, ident nodeid.Identity, peers *transport.Transport, f *fatal,
	announced func(raft.ServerID) (version uint8, firsthand bool),
) (*replica, error) {
	r := &replica{
		id: ident.ServerID(), cfg: cfg, log: cfg.Logger, lines: newLines(cfg.Logger), fatal: f, peers: peers,
		leaders: leadership.New(), writing: make(chan struct{}, 1), observed: make(chan raft.Observation, 16),
		snapshotting: make(chan struct{}, 1), tight: make(chan struct{}, 1), noting: make(chan struct{}, 1),
	}
	r.disk = room.NewDisk(r.measureDisk)
	r.ctx, r.cancel = context.WithCancel(context.Background())
	if err := r.open(load, ident); err != nil {
		r.cancel()
		if r.stores != nil {
			err = errors.Join(err, r.stores.Close())
		}
		return nil, err
	}
	r.versions = newVersions(r.cfg.understands(), r.servers, announced)
	r.proposer = propose.New(cfg.MaxPendingBytes, cfg.Timing.Election, r.leaders, r)
	r.reader = newReader(r.ctx, r.readIndex)
	r.start(r.watchLeadership, r.beginTerms, r.compactLoop, r.watchLog, r.watchDisk, r.watchMemory, r.catchUp, r.compareStates, r.watchSilence, r.tellCommitted, r.proposer.Run, r.endWaits)
	return r, nil
}

// open opens what the replica stands on, the lowest first.
func (r *replica) open(load context.Context, ident nodeid.Identity) error {
	done := make(chan struct{})
	defer close(done)
	go r.cfg.Loading.watch(r.log, done)
	r.state = fsm.New(fsm.Config{OnFatal: r.fatal.fail, Logger: r.log, Loading: true, Version: r.cfg.understands()})
	r.fsm = r.state
	r.memory = room.NewMemory(r.cfg.Memory, r.cfg.MaxDataBytes, r.fsm, r.cfg.Seams.Heap)
	r.quorum = room.NewQuorum(r.disk, r.memory, voters{r})
	if err := r.openStores(load, ident); err != nil {
		return err
	}
	note, err := recovery.ReadNote(r.cfg.FS, r.cfg.DataDir)
	if err != nil {
		return err
	}
	r.noted.Store(note.Index)
	return r.startRaft(load)
}

func (r *replica) raftConfig() *raft.Config {
	c := raft.DefaultConfig()
	c.LocalID = r.id
	c.HeartbeatTimeout = r.cfg.Timing.Heartbeat
	c.ElectionTimeout = r.cfg.Timing.Election
	c.LeaderLeaseTimeout = r.cfg.Timing.Lease
	c.CommitTimeout = r.cfg.Timing.Commit
	c.MaxAppendEntries = cmp.Or(r.cfg.Memory.AppendEntries, maxAppendEntries)
	c.TrailingLogs = 1                   // the log store decides, by bytes
	c.SnapshotThreshold = math.MaxUint64 // compactLoop decides
	c.ShutdownOnRemove = false           // removal is reported by Fatal, see removed
	c.NoSnapshotRestoreOnStart = true    // restoreNewest has done it
	c.NoLegacyTelemetry = true
	c.Logger = raftLogger(r.log)
	return c
}

// start runs each of loops on a goroutine that ends with the replica's context.
func (r *replica) start(loops ...func(context.Context)) {
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

// watchLeadership keeps leaders true to what raft says. Observations may be
// dropped when they come too fast, never the last one: the channel then holds
// others that have not been read yet, and each makes it look again.
func (r *replica) watchLeadership(ctx context.Context) {
	for {
		_, leader := r.raft.LeaderWithID()
		r.leaders.SetLeader(leader, r.id, r.raft.CurrentTerm())
		select {
		case <-r.observed:
		case <-ctx.Done():
			return
		}
	}
}

// beginTerms does a new leader's first act: a clock command. Once it is
// applied, every entry of earlier terms is too, and the cluster clock continues
// from the later of the voters' median wall clock and the clock those entries left.
func (r *replica) beginTerms(ctx context.Context) {
	for {
		state, changed := r.leaders.Current()
		retry := time.Duration(math.MaxInt64)
		if state.Leader == r.id && (state.Term == nil || state.Term.Number() != r.raft.CurrentTerm()) {
			if err := r.beginTerm(ctx); err != nil {
				r.log.Debug("term not begun", "err", err)
				retry = leadership.RetryDelay
			}
		}
		select {
		case <-changed:
		case <-time.After(retry):
		case <-ctx.Done():
			return
		}
	}
}

func (r *replica) beginTerm(ctx context.Context) error {
	term := r.raft.CurrentTerm()
	r.quorum.Forget()
	r.memory.Forget()
	r.versions.begin(term)
	clocks, err := r.probe(ctx, term, clockSettle)
	if err != nil {
		return err
	}
	first := r.fsm.ClockRequest()
	if _, err := r.commit(r.fsm.AppendEntry(nil, medianClock(clocks), first.Version, first.Count, first.Data)); err != nil {
		return err
	}
	if r.raft.State() != raft.Leader || r.raft.CurrentTerm() != term {
		return kv.ErrNotLeader
	}
	r.leaders.SetTerm(leadership.BeginTerm(term, r.fsm.Clock()))
	r.wg.Go(func() { r.askVersions(ctx, term) })
	r.log.Info("leading", "term", term)
	return nil
}

// Leading implements propose.Route.
func (r *replica) Leading() bool {
	state, _ := r.leaders.Current()
	return state.Leader == r.id && state.Term != nil && state.Term.Number() == r.raft.CurrentTerm()
}

// Supports implements propose.Route.
func (r *replica) Supports(version byte) error {
	if allow := r.cfg.Seams.AllowVersion; allow != nil {
		return allow(version)
	}
	return r.versions.allows(version)
}

// Apply implements propose.Route.
func (r *replica) Apply(b propose.Batch) ([]byte, error) {
	select {
	case r.writing <- struct{}{}:
		defer func() { <-r.writing }()
	default:
		return nil, fmt.Errorf("%w: it hands leadership over", kv.ErrNotLeader)
	}
	if err := r.serving(); err != nil {
		return nil, fmt.Errorf("%w: %w", kv.ErrNotLeader, err)
	}
	state, _ := r.leaders.Current()
	if state.Term == nil {
		return nil, kv.ErrNotLeader
	}
	if err := r.Supports(b.Facts.Version); err != nil {
		return nil, err
	}
	entry := r.fsm.AppendEntry(nil, state.Term.Stamp(), b.Facts.Version, b.Facts.Count, b.Parts...)
	if len(entry) > maxEntryBytes {
		return nil, &kv.ValidationError{Field: "requests", Size: int64(len(entry)), Limit: maxEntryBytes,
			Reason: fmt.Sprintf("are an entry of %d bytes, the limit is %d", len(entry), maxEntryBytes)}
	}
	cost, err := r.admitBatch(r.ctx, b.In(entry), int64(len(entry)))
	if err != nil {
		return nil, err
	}
	defer r.disk.Release(cost)
	// To admit it may have taken a while: the followers are asked for room.
	if !r.Leading() || state.Term.Number() != r.raft.CurrentTerm() {
		return nil, kv.ErrNotLeader
	}
	if err := r.Supports(b.Facts.Version); err != nil {
		return nil, err
	}
	return r.commit(entry)
}

// commit puts one entry into the log and waits for the responses to its requests. It is
// the only caller of raft's Apply: an error of the state machine comes with
// the response, one of the log with the future, and both are sorted here into
// 'not done' (ErrNotLeader, ErrTimeout) and ErrUnknownOutcome.
func (r *replica) commit(entry []byte) ([]byte, error) {
	var future raft.ApplyFuture
	err := r.asks.ask(func() error {
		future = r.raft.Apply(entry, enqueueTimeout)
		return future.Error()
	})
	if d := r.stuck.observe(err, time.Now()); d > r.cfg.stuckTransferLimit {
		r.fatal.fail(fmt.Errorf("raft has refused writes for %v: %w", d, err))
	}
	if err != nil {
		return nil, commitError(err)
	}
	responses, ok := future.Response().([]byte)
	if !ok {
		return nil, fmt.Errorf("%w: the state machine answered with %T", kv.ErrUnknownOutcome, future.Response())
	}
	return responses, nil
}

// commitError sorts what raft's Apply returned.
func commitError(err error) error {
	switch {
	case errors.Is(err, raft.ErrEnqueueTimeout):
		return fmt.Errorf("%w: raft is busy: %w", kv.ErrTimeout, err)
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipTransferInProgress):
		return fmt.Errorf("%w: %w", kv.ErrNotLeader, err)
	}
	return fmt.Errorf("%w: %w", kv.ErrUnknownOutcome, err)
}

// catchUp makes one linearizable read after the start, which shows that this
// node has a leader and has applied all that was acknowledged before.
func (r *replica) catchUp(ctx context.Context) {
	next, pause := time.Now().Add(firstLoadReport), firstLoadReport
	for ctx.Err() == nil {
		attempt, cancel := context.WithTimeout(ctx, time.Second)
		err := r.waitCurrent(attempt)
		cancel()
		if err == nil {
			r.caughtUp.Store(true)
			r.log.Info("serving", "after", r.cfg.Loading.took(), "keys", r.fsm.Len(), "applied", r.fsm.AppliedIndex())
			r.fsm.Loaded() // a listing that comes before does its part
			return
		}
		if _, ok := r.replaying(); ok && time.Now().After(next) {
			r.cfg.Loading.report(r.log)
			pause = min(2*pause, maxLoadReport)
			next = time.Now().Add(pause)
		}
	}
}

// endWaits has all who wait be told at once when the node must stop: neither a leader
// nor an entry comes any more. What was sent is unknown, what was not is not done. A node
// that has left its cluster still answers who asked it to.
func (r *replica) endWaits(ctx context.Context) {
	select {
	case <-r.fatal.done:
	case <-ctx.Done():
		return
	}
	if Left(r.fatal.err) {
		return
	}
	r.cancel()
	r.proposer.Stop()
	_ = r.fsm.Close() // wakes who waits for an entry; it has no error
}

// ready says why this replica can't serve linearizable requests, nil if it can.
func (r *replica) ready() error {
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

// close stops raft and everything on it, then closes the files. Raft's part of
// the peers' transport is closed first, so that nobody waits for a peer: a
// snapshot on its way ends, and a leader has no majority any more. The rest of it
// is closed by the node once raft has ended.
func (r *replica) close(closePeers func() error) error {
	r.cancel() // no new batches, rounds or snapshots
	answered := r.asks.close()
	select {
	case <-answered:
	case <-r.fatal.done: // it may be an entry at which the state machine has stopped
	case <-time.After(2 * r.cfg.Timing.Lease): // a majority may be busy
	}
	err := r.fsm.Close() // lets its apply, and the writing of a snapshot, return
	err = errors.Join(err, r.peers.CloseRaft())
	<-answered
	err = errors.Join(err, r.raft.Shutdown().Error())
	err = errors.Join(err, closePeers()) // no message arrives any more
	r.raft.DeregisterObserver(r.observer)
	r.wg.Wait()
	r.reader.close()
	return errors.Join(err, r.stores.Close()) // nothing writes any more
}
