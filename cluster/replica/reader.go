package replica

import (
	"context"
	"fmt"
	"sync"

	"github.com/kvorum/kvorum/kv"
)

// reader finds an index for reads that wait, which they must see. Reads that
// arrive while a round is running share the next round. So the index of a round is taken
// after each of its reads began, as linearizability requires.
type reader struct {
	// find returns an index that covers every write acknowledged before it was called.
	find func(ctx context.Context) (uint64, error)

	ctx context.Context // of the replica: the end of every round
	wg  sync.WaitGroup  // the goroutine that runs rounds

	mu      sync.Mutex
	next    *readRound // guarded by mu; the round that reads may still enter
	running bool       // guarded by mu; a goroutine runs rounds
	closed  bool       // guarded by mu
}

// readRound is one call of find, shared by all reads that wait for it.
type readRound struct {
	done  chan struct{} // closed when index and err are set
	index uint64
	err   error
}

func newReader(ctx context.Context, find func(context.Context) (uint64, error)) *reader {
	return &reader{ctx: ctx, find: find}
}

// index returns an index such that a read of a state machine that has applied
// it sees every write that was acknowledged before index was called.
func (r *reader) index(ctx context.Context) (uint64, error) {
	round, err := r.enter()
	if err != nil {
		return 0, err
	}
	select {
	case <-round.done:
		return round.index, round.err
	case <-ctx.Done():
		return 0, fmt.Errorf("%w: the leader has not said what to read at", kv.ErrTimeout)
	}
}

// enter joins the round that has not begun yet.
func (r *reader) enter() (*readRound, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, kv.ErrClosed
	}
	if r.next == nil {
		r.next = &readRound{done: make(chan struct{})}
	}
	if !r.running {
		r.running = true
		r.wg.Add(1)
		go r.run()
	}
	return r.next, nil
}

// run runs rounds until none waits.
func (r *reader) run() {
	defer r.wg.Done()
	for {
		r.mu.Lock()
		round := r.next
		r.next = nil
		r.running = round != nil
		r.mu.Unlock()
		if round == nil {
			return
		}
		round.index, round.err = r.find(r.ctx)
		close(round.done)
	}
}

// close refuses further reads and waits for the present round to end; the
// reader's context must have ended.
func (r *reader) close() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.wg.Wait()
}
