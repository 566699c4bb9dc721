package store

import (
	"fmt"
	"slices"
	"sync"

	"github.com/kvorum/kvorum/wal"
)

// decideAhead is the number of waiting writes that wakes the committer while others are
// being appended. Waking it for each one would cost more than the decision itself.
const decideAhead = 32

// Limits of the committer's memory.
const (
	maxAheadBytes = 16 << 20 // of payloads that are decided and not applied, at which nothing is decided
	maxSpare      = 4        // empty rounds
)

// committer decides the writes of a store with a log on one goroutine, appends
// them to the log on another, and applies them on the first again. So memory is in
// the log's order, and a condition sees all previous writes. Decisions see writes that
// are not applied yet through the store's overlay. Rounds keep their order throughout:
//
//	state      of       field      goroutine  ends when
//	waiting    a write  waiting    caller     the committer takes all that wait
//	taken      a write  taken      committer  it is decided: nothing is blocked, and less than maxAheadBytes is ahead
//	decided    a round  decided    appender   the previous append has ended
//	appending  a round  (local)    appender   the log has it (synced, with SyncWrites), or has failed
//	appended   a round  appended   committer  the committer takes it
//	landed     a round  landed     committer  complete has applied it, or abandoned it after a failure, and told its callers
//	spare      a round  spare      committer  it gets the next writes that are decided
//
// Rounds that are decided during an append share the next one. A round that needs no sync,
// while nothing is ahead, is appended by the committer itself and complete at once. Close
// refuses what is waiting or taken, and completes the rest.
type committer struct {
	s *Store

	mu       sync.Mutex // guards the fields below
	waiting  []*write   // in the order in which they came
	idle     bool       // the committer has nothing to do: the next write wakes it
	closed   bool       // writes are refused
	decided  []*round   // to be appended
	ended    bool       // nothing will be decided any more
	appended []*round   // to be applied

	wakeCommitter chan struct{} // one slot: writes wait, or rounds were appended
	wakeAppender  chan struct{} // one slot: rounds were decided, or the end has come

	// The fields below belong to the committer's goroutine.
	taken      []*write // to be decided
	blocked    bool     // the first of taken can't be decided until a round is applied
	ahead      int      // the number of rounds that are decided and not applied
	aheadBytes int      // of their payloads
	landed     []*round // those of them that were appended, and that appended has no more
	spare      []*round // empty
}

func newCommitter(s *Store) *committer {
	return &committer{s: s, wakeCommitter: make(chan struct{}, 1), wakeAppender: make(chan struct{}, 1)}
}

// run hands a write to the committer and waits for its end. The number of waiting writes
// has no limit: each is a goroutine that would wait in any case.
func (c *committer) run(w *write) error {
	w.done.Add(1)
	c.mu.Lock()
	if c.closed || c.s.closed.Load() {
		c.mu.Unlock()
		return ErrStoreClosed
	}
	c.waiting = append(c.waiting, w)
	enough := c.idle || len(c.waiting) == decideAhead
	c.idle = false
	c.mu.Unlock()
	if enough {
		nudge(c.wakeCommitter)
	}
	w.done.Wait()
	return w.err
}

// loop decides and applies until stop is closed. Writes that are decided by then
// are appended and applied. All others get ErrStoreClosed.
func (c *committer) loop(stop <-chan struct{}) {
	var appender sync.WaitGroup
	appender.Go(c.appendLoop)
	for stopped := false; !stopped; {
		for c.work() {
		}
		select {
		case <-c.wakeCommitter:
		case <-stop:
			stopped = true
		}
	}
	c.refuse()
	for c.ahead > 0 {
		if !c.work() {
			<-c.wakeCommitter
		}
	}
	c.mu.Lock()
	c.ended = true
	c.mu.Unlock()
	nudge(c.wakeAppender)
	appender.Wait()
}

// work decides the waiting writes and applies one appended round, and reports whether
// there was anything to do. If the appender is idle, it decides first, so that the next
// append begins. Otherwise it applies the round first, so that its callers return and
// their next writes are decided with the others.
func (c *committer) work() bool {
	came, busy := c.take()
	if !busy || len(c.landed) == 0 {
		c.decideTaken()
	}
	if len(c.landed) == 0 {
		return came
	}
	c.ahead--
	c.aheadBytes -= c.landed[0].filled
	c.complete(c.landed[0])
	c.landed = slices.Delete(c.landed, 0, 1)
	return true
}

// take takes the waiting writes and the appended rounds. It says whether there were
// writes, and whether the appender has something to do.
func (c *committer) take() (came, busy bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	came = len(c.waiting) > 0
	c.taken = append(c.taken, c.waiting...)
	clear(c.waiting)
	c.waiting = c.waiting[:0]
	c.landed = append(c.landed, c.appended...)
	clear(c.appended)
	c.appended = c.appended[:0]
	c.idle = !came && c.ahead == 0
	return came, c.ahead > len(c.landed)
}

// decideTaken decides the taken writes and passes them to the appender.
func (c *committer) decideTaken() {
	for len(c.taken) > 0 && !c.blocked && c.aheadBytes < maxAheadBytes {
		r := c.emptyRound()
		n, now := 0, c.s.now()
		for n < len(c.taken) && !r.full() {
			if c.blocked = !c.s.decide(r, c.taken[n], now); c.blocked {
				break
			}
			n++
		}
		c.taken = slices.Delete(c.taken, 0, n)
		switch {
		case n == 0:
			c.spare = append(c.spare, r)
		case c.ahead == 0 && (len(r.frames) == 0 || !c.s.opts.SyncWrites):
			r.err = c.s.appendLog(r.first, r.frames) // takes less time than to hand it over
			c.complete(r)
		default:
			c.ahead++
			c.aheadBytes += r.filled
			c.mu.Lock()
			c.decided = append(c.decided, r)
			c.mu.Unlock()
			nudge(c.wakeAppender)
		}
	}
}

func (c *committer) emptyRound() *round {
	n := len(c.spare)
	if n == 0 {
		return &round{}
	}
	r := c.spare[n-1]
	c.spare = c.spare[:n-1]
	return r
}

// complete applies a round that was appended, and tells its callers. The error
// of the append is the outcome of all its writes: each may have been decided by
// the changes of a previous one.
func (c *committer) complete(r *round) {
	if r.err == nil {
		c.s.apply(r)
	} else {
		c.s.abandon()
	}
	for _, w := range r.writes {
		if r.err != nil {
			w.err = r.err
		}
		w.done.Done()
	}
	c.blocked = false
	r.reset()
	if len(c.spare) < maxSpare {
		c.spare = append(c.spare, r)
	}
}

// refuse ends every write that is not decided, and has later ones refused.
func (c *committer) refuse() {
	c.mu.Lock()
	c.closed = true
	rest := append(c.taken, c.waiting...)
	c.taken, c.waiting = nil, nil
	c.mu.Unlock()
	for _, w := range rest {
		w.err = ErrStoreClosed
		w.done.Done()
	}
}

// appendLoop appends the decided rounds to the log, until the end.
func (c *committer) appendLoop() {
	var frames []wal.Frame
	for {
		rounds, ended := c.toAppend()
		if len(rounds) == 0 {
			if ended {
				return
			}
			<-c.wakeAppender
			continue
		}
		frames = frames[:0]
		for _, r := range rounds {
			frames = append(frames, r.frames...)
		}
		err := c.s.appendLog(rounds[0].first, frames)
		clear(frames)
		for _, r := range rounds {
			r.err = err
		}
		c.mu.Lock()
		c.appended = append(c.appended, rounds...)
		c.mu.Unlock()
		nudge(c.wakeCommitter)
	}
}

// toAppend takes the rounds of the next append, none if nothing is decided, and
// says whether that is the end.
func (c *committer) toAppend() (rounds []*round, ended bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n, bytes := 0, 0
	for n < len(c.decided) && bytes < maxRoundBytes {
		bytes += c.decided[n].filled
		n++
	}
	rounds = slices.Clone(c.decided[:n])
	c.decided = slices.Delete(c.decided, 0, n)
	return rounds, c.ended
}

// appendLog appends the records of writes, whose first sequence is first, to the
// log. Its error is the store's end.
func (s *Store) appendLog(first uint64, frames []wal.Frame) error {
	if err := s.failure(); err != nil || len(frames) == 0 {
		return err
	}
	if err := s.log.Append(first, frames); err != nil {
		return s.fail(fmt.Errorf("write to the log: %w", err))
	}
	return nil
}
