package replica

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/cluster/leadership"
	"github.com/kvorum/kvorum/cluster/propose"
	"github.com/kvorum/kvorum/kv"
	"github.com/kvorum/kvorum/wal"
)

const (
	// enqueueTimeout is how long a batch may wait for raft to take it.
	enqueueTimeout = 2 * time.Second
	// maxEntryBytes is the maximum size of an entry that enters the log: less than a frame of
	// the log, or a message to a peer, may have. The log's refusal would stop the node.
	maxEntryBytes = wal.MaxPayload - 64<<10
)

// route is the replica as its proposer has it.
type route struct{ r *Replica }

var _ propose.Route = route{}

// Leading implements propose.Route.
func (t route) Leading() bool { return t.r.Leading() }

// Supports implements propose.Route.
func (t route) Supports(version byte) error { return t.r.supports(version) }

// Apply implements propose.Route.
func (t route) Apply(b propose.Batch) ([]byte, error) { return t.r.apply(b) }

// Forward implements propose.Route.
func (t route) Forward(ctx context.Context, b propose.Batch, ready func() bool) ([]byte, error) {
	return t.r.forward(ctx, b, ready)
}

// Writing reports whether a batch is on its way into the log, or leadership is being handed over.
func (r *Replica) Writing() bool { return len(r.writing) > 0 }

// supports returns nil if this node, as the leader, may write commands of a version.
func (r *Replica) supports(version byte) error {
	if allow := r.cfg.Seams.AllowVersion; allow != nil {
		return allow(version)
	}
	return r.versions.allows(version)
}

// apply puts a batch into the log as one entry, and returns the responses to its requests.
func (r *Replica) apply(b propose.Batch) ([]byte, error) {
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
	if err := r.supports(b.Facts.Version); err != nil {
		return nil, err
	}
	stamp := state.Term.Stamp()
	entry := r.machine.AppendEntry(nil, stamp, b.Facts.Version, b.Facts.Count, b.Parts...)
	if len(entry) > maxEntryBytes {
		return nil, &kv.ValidationError{Field: "requests", Size: int64(len(entry)), Limit: maxEntryBytes,
			Reason: fmt.Sprintf("are an entry of %d bytes, the limit is %d", len(entry), maxEntryBytes)}
	}
	responses, err := r.writeInRoom(state.Term, b, entry)
	if noRoom(err) && b.Facts.Repeatable() {
		entry = r.machine.AppendEntry(nil, stamp, b.Facts.Version, b.Facts.Count, b.Parts...)
		if r.machine.Answered(b.In(entry), stamp) { // nothing is carried out again
			b.Facts.Puts, b.Facts.Appends, b.Facts.PutBytes = 0, 0, 0
			return r.write(state.Term, b, entry)
		}
	}
	return responses, err
}

// noRoom reports whether err refuses a batch because it needs room.
func noRoom(err error) bool {
	return errors.Is(err, kv.ErrDataLimit) || errors.Is(err, kv.ErrMemoryFull) || errors.Is(err, kv.ErrDiskFull)
}

// writeInRoom puts a batch into the log, and the evictions before it that the quota needs. entry is
// that of the batch alone, whose memory is used again.
func (r *Replica) writeInRoom(term *leadership.Term, b propose.Batch, entry []byte) ([]byte, error) {
	evict, err := r.makeRoom(term, b.In(entry))
	if err != nil {
		return nil, err
	}
	if evict.Count == 0 {
		return r.write(term, b, entry)
	}
	b.Facts.Version = max(b.Facts.Version, evict.Version)
	entry = r.machine.AppendEntry(entry[:0], term.Stamp(), b.Facts.Version, b.Facts.Count+evict.Count,
		append([][]byte{evict.Data}, b.Parts...)...)
	responses, err := r.write(term, b, entry)
	if err != nil {
		return nil, err
	}
	return withoutFirst(responses)
}

// write puts an entry into the log, which ends with the requests of a batch, and returns the
// responses to its requests.
func (r *Replica) write(term *leadership.Term, b propose.Batch, entry []byte) ([]byte, error) {
	cost, err := r.admitBatch(r.ctx, b.In(entry), int64(len(entry)))
	if err != nil {
		return nil, err
	}
	defer r.release(cost)
	// Admission may have taken a while, because the followers are asked for room.
	if !r.Leading() || term.Number() != r.raft.CurrentTerm() {
		return nil, kv.ErrNotLeader
	}
	if err := r.supports(b.Facts.Version); err != nil {
		return nil, err
	}
	return r.commit(entry)
}

// release gives reserved room back when the log writes nothing any more. Raft may have abandoned
// an entry that is still being written.
func (r *Replica) release(cost int64) {
	if r.logs.Durable() == math.MaxUint64 {
		r.disk.Release(cost)
		return
	}
	r.wg.Go(func() {
		r.logs.Settle()
		r.disk.Release(cost)
	})
}

// commit puts one entry into the log and waits for the responses to its requests. It is
// the only caller of raft's Apply. The response has the error of the state machine, and the
// future has that of the log. commit turns both into not done (ErrNotLeader, ErrTimeout) or
// ErrUnknownOutcome.
func (r *Replica) commit(entry []byte) ([]byte, error) {
	defer r.machine.Await(entry)()
	var future raft.ApplyFuture
	err := r.asks.ask(func() error {
		future = r.raft.Apply(entry, enqueueTimeout)
		return future.Error()
	})
	if d := r.stuck.observe(err, time.Now()); d > r.cfg.Seams.StuckTransferLimit {
		r.fatal.Fail(fmt.Errorf("raft has refused writes for %v: %w", d, err))
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

// commitError returns the error of a write for an error of raft's Apply.
func commitError(err error) error {
	switch {
	case errors.Is(err, raft.ErrEnqueueTimeout):
		return fmt.Errorf("%w: raft is busy: %w", kv.ErrTimeout, err)
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipTransferInProgress):
		return fmt.Errorf("%w: %w", kv.ErrNotLeader, err)
	}
	return fmt.Errorf("%w: %w", kv.ErrUnknownOutcome, err)
}
