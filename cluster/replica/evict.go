package replica

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/cluster/leadership"
	"github.com/kvorum/kvorum/cluster/propose"
	"github.com/kvorum/kvorum/internal/wire"
	"github.com/kvorum/kvorum/kv"
)

// The leader keeps the quota of the data. It evicts keys so that a batch fits, in the entry of the
// batch itself: readers see both together, so they never see more than the quota allows. Only if more
// keys have to go than one request evicts, the first of them go by entries of their own. If the quota
// has become lower, the leader evicts what is too much, beside the writes of clients.

const (
	// maxEvictions is the maximum number of entries that evict keys for one batch.
	maxEvictions = 64
	// maxEvictionBytes is the maximum size of an entry behind which evictions have room in it.
	maxEvictionBytes = maxEntryBytes - 1<<20
	// shrinkTick is the time between two looks at data that may exceed the quota.
	shrinkTick = 250 * time.Millisecond
	// readsTick is the time between two samples of the reads on other members.
	readsTick = time.Second
)

// makeRoom returns the request that evicts keys so that requests, the next ones in the log, keep the
// quota; Count is 0 if there is no need. If one request is not enough, it writes others before. The
// error is a propose.PartialRefusal of class kv.ErrDataLimit, or one of writing.
func (r *Replica) makeRoom(term *leadership.Term, requests wire.Requests) (wire.Requests, error) {
	for range maxEvictions {
		evict, done, err := r.machine.MakeRoom(requests)
		if err != nil || evict.Count == 0 {
			return wire.Requests{}, err
		}
		if err := r.supports(evict.Version); err != nil {
			return wire.Requests{}, err
		}
		if done && len(requests.Data) <= maxEvictionBytes {
			return evict, nil
		}
		entry := r.machine.AppendEntry(nil, term.Stamp(), evict.Version, evict.Count, evict.Data)
		if _, err := r.write(term, propose.Batch{Facts: evict, Parts: [][]byte{evict.Data}}, entry); err != nil {
			return wire.Requests{}, notDone(err)
		}
	}
	return wire.Requests{}, fmt.Errorf("%w: keys are still being evicted to make room", kv.ErrTimeout)
}

// notDone returns the error of a batch for that of the evictions before it, which was not sent.
func notDone(err error) error {
	if kv.Classify(err) == kv.ErrUnknownOutcome {
		return fmt.Errorf("%w: keys could not be evicted: %s", kv.ErrNotLeader, err.Error())
	}
	return err
}

// withoutFirst returns responses without the first one.
func withoutFirst(responses []byte) ([]byte, error) {
	_, rest, err := wire.Take(responses, 1)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", kv.ErrUnknownOutcome, err)
	}
	return rest, nil
}

// shrink makes the leader evict keys while the data exceeds the quota, until ctx ends.
func (r *Replica) shrink(ctx context.Context) {
	tick := time.NewTicker(shrinkTick)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		for r.Leading() && r.shrinkOnce(ctx) {
		}
	}
}

// shrinkOnce evicts some of the keys that are too many, and reports whether there were any.
func (r *Replica) shrinkOnce(ctx context.Context) bool {
	evict := r.machine.Shrink()
	if evict.Count == 0 {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, actTimeout)
	defer cancel()
	if _, err := r.proposer.Propose(ctx, evict, true); err != nil {
		r.log.Debug("keys that are too many not evicted", "err", err)
		return false
	}
	return true
}

// gatherReads makes the leader note samples of the reads on other members, until ctx ends: they count
// for the choice of keys to evict. A member of an older build has none.
func (r *Replica) gatherReads(ctx context.Context) {
	tick := time.NewTicker(readsTick)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		if !r.machine.NotesReads() || !r.Leading() {
			continue
		}
		// The next leader asks for the reads here behind this term alone.
		r.machine.TakeReads()
		var asking sync.WaitGroup
		for _, s := range r.Servers() {
			if s.ID != r.id {
				asking.Go(func() { r.noteReads(ctx, s.ID) })
			}
		}
		asking.Wait()
	}
}

// noteReads asks a member for a sample of its reads, and notes these.
func (r *Replica) noteReads(ctx context.Context, id raft.ServerID) {
	ctx, cancel := context.WithTimeout(ctx, readsTick)
	defer cancel()
	sample, err := r.peers.Call(ctx, id, kindReads, nil)
	if err == nil {
		err = r.machine.NoteReads(sample)
	}
	if err != nil {
		r.log.Debug("reads of a member not known", "member", id, "err", FromWire(err, id))
	}
}
