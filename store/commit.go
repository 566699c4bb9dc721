package store

import (
	"errors"
	"fmt"
	"time"

	"github.com/kvorum/kvorum/wal"
)

// Bounds of what the committer takes at once, and of what waits for it.
const (
	maxWaiting      = 4096     // writes that wait; a further one blocks its caller
	maxRoundWrites  = 1024     // writes of one append to the log
	maxRoundBytes   = 4 << 20  // of records, where a round is full
	maxBatchBytes   = 64 << 20 // of one Batch
	maxBatchChanges = 64 << 10
	maxFreed        = 32 << 20 // of keys that a write removes to make room, unless it needs more
)

// write is one call that changes something, on its way through the committer.
type write struct {
	decide decision
	after  func()        // called by the committer once the round is applied; may be nil
	done   chan struct{} // one slot: the fields below are final; nil without a committer's goroutine
	err    error

	// What the committer made of it.
	plan    plan
	frame   wal.Frame
	changed bool
	end     int // of the plan's changes in the overlay
}

// submit hands a write to the committer, waits for its end and calls back for
// what it removed besides its own keys.
func (s *Store) submit(decide decision) error {
	began := time.Now()
	w := &write{decide: decide}
	err := s.run(w)
	s.counters.writes.observe(time.Since(began))
	if err == nil {
		s.tell(&w.plan)
	}
	return err
}

// run is submit without figures and callbacks. Without a log a round needs no
// company, so the caller is the committer for as long as it takes.
func (s *Store) run(w *write) error {
	if s.log == nil {
		s.deciding.Lock()
		defer s.deciding.Unlock()
		if s.closed.Load() {
			return ErrStoreClosed
		}
		s.round([]*write{w})
		return w.err
	}
	w.done = make(chan struct{}, 1)
	select {
	case s.writes <- w:
	case <-s.stop:
		return ErrStoreClosed
	}
	select {
	case <-w.done:
		return w.err
	case <-s.committed: // the committer has ended, and with it everything it took
		select {
		case <-w.done:
			return w.err
		default:
			return ErrStoreClosed
		}
	}
}

// tell calls back for what a write has removed besides its own keys.
func (s *Store) tell(p *plan) {
	s.counters.evictions.Add(uint64(len(p.evicted)))
	s.counters.expirations.Add(uint64(len(p.expired)))
	for _, r := range p.evicted {
		if s.opts.OnEvict != nil {
			s.opts.OnEvict(r.key(), r.value())
		}
	}
	for _, r := range p.expired {
		if s.opts.OnExpire != nil {
			s.opts.OnExpire(r.key(), r.value())
		}
	}
}

// commitLoop is the committer of a store with a log: it alone decides writes,
// appends them to the log and applies them, so that memory is in the log's
// order, conditions see every write before them, and writes that wait share a sync.
func (s *Store) commitLoop() {
	defer close(s.committed)
	for {
		select {
		case w := <-s.writes:
			s.commit(s.gather(w))
		case <-s.stop:
			return
		}
	}
}

// gather takes what waits, up to the bounds of a round.
func (s *Store) gather(first *write) []*write {
	group := []*write{first}
	for len(group) < maxRoundWrites {
		select {
		case w := <-s.writes:
			group = append(group, w)
		default:
			return group
		}
	}
	return group
}

// commit runs rounds until all of the group is done, and tells each caller.
func (s *Store) commit(group []*write) {
	for len(group) > 0 {
		n := s.round(group)
		for _, w := range group[:n] {
			w.done <- struct{}{}
		}
		group = group[n:]
	}
}

// round decides as many of the group's writes as one append to the log takes,
// in order, makes them durable as the options say and applies them. It returns
// their number. No caller knows the outcome of its write before the end of the
// round: each may have been decided by what those before it changed, so that
// the failure of the append is the outcome of all.
func (s *Store) round(group []*write) (n int) {
	defer s.over.reset()
	sequence, cleared := s.sequence, false
	for n < len(group) && s.over.weight < maxRoundBytes && !cleared {
		w := group[n]
		w.err = s.decide(w, sequence+1)
		if w.plan.start.changes > 0 && (errors.Is(w.err, ErrStoreFull) || w.err == errNextRound) {
			w.err = nil // the round's own keys are no victims, and not in data yet: begin another
			break
		}
		if w.changed {
			sequence++
		}
		cleared = w.plan.clear
		n++
	}
	group = group[:n]
	if sequence != s.sequence {
		if err := s.appendLog(group); err != nil {
			for _, w := range group {
				w.err = err
			}
			return n
		}
		s.applyRound(group)
	}
	for _, w := range group {
		if w.after != nil && w.err == nil {
			w.after()
		}
	}
	return n
}

// decide plans one write, with this sequence if it changes something.
func (s *Store) decide(w *write, sequence uint64) error {
	if err := s.failure(); err != nil {
		return err
	}
	w.plan = plan{s: s, now: s.now(), sequence: sequence, over: &s.over, start: s.over.mark()}
	err := w.decide(&w.plan)
	if err == nil {
		err = w.plan.makeRoom()
	}
	if err == nil && s.log != nil {
		w.frame, err = frameOf(&w.plan)
	}
	if err != nil {
		s.over.rollback(w.plan.start)
		return err
	}
	w.end = len(s.over.changes)
	w.changed = w.plan.clear || w.end > w.plan.start.changes
	return nil
}

// appendLog appends the round's records to the log, if there is one. Its error
// is the store's end.
func (s *Store) appendLog(group []*write) error {
	if s.log == nil {
		return nil
	}
	frames := make([]wal.Frame, 0, len(group))
	for _, w := range group {
		if w.changed {
			frames = append(frames, w.frame)
		}
	}
	if err := s.log.Append(s.sequence+1, frames); err != nil {
		return s.fail(fmt.Errorf("write to the log: %w", err))
	}
	return nil
}

// applyRound shows readers what the round has decided, write by write.
func (s *Store) applyRound(group []*write) {
	s.entries += s.over.count
	s.bytes += s.over.bytes
	for _, w := range group {
		switch {
		case !w.changed:
			continue
		case w.plan.clear: // the last of its round
			s.data.Clear()
			s.garbage.Add(int64(s.entries))
			s.entries, s.bytes = 0, 0
		default:
			changes := s.over.changes[w.plan.start.changes:w.end]
			s.data.apply(changes)
			s.noteGarbage(changes)
			s.noteDeadlines(changes)
		}
		s.sequence++
	}
	s.compactIfDue()
}

// frameOf returns the record of a plan for the log: one for a single change, a
// batch for several. One that the log could not take is ErrBatchTooLarge.
func frameOf(p *plan) (wal.Frame, error) {
	if p.clear {
		return wal.Frame{Type: wal.RecordTypeClear}, nil
	}
	changes := p.changes()
	if len(changes) == 0 {
		return wal.Frame{}, nil
	}
	records := make([]*wal.Record, len(changes))
	for i, c := range changes {
		records[i] = &wal.Record{Type: wal.RecordTypeDelete, Key: []byte(c.key), Timestamp: p.now}
		if c.record.first != nil {
			records[i].Type, records[i].Value = wal.RecordTypePut, c.record.value()
			records[i].ExpiresAt, records[i].Sequence = c.record.deadline(), p.sequence
		}
	}
	frame := wal.Frame{Type: records[0].Type}
	if len(records) == 1 {
		frame.Payload = records[0].Encode()
	} else {
		frame = wal.Frame{Type: wal.RecordTypeBatch, Payload: wal.EncodeBatch(records)}
	}
	if len(frame.Payload) > wal.MaxPayload {
		return wal.Frame{}, fmt.Errorf("%w: %d bytes with the keys that make room for it, the limit is %d",
			ErrBatchTooLarge, len(frame.Payload), wal.MaxPayload)
	}
	return frame, nil
}

// fail latches the store: no write succeeds any more.
func (s *Store) fail(cause error) error {
	err := fmt.Errorf("%w: %w", ErrStoreFailed, cause)
	if s.failed.CompareAndSwap(nil, &err) {
		s.report(err)
	}
	return *s.failed.Load()
}

// failure returns what latched the store, nil if nothing did.
func (s *Store) failure() error {
	if err := s.failed.Load(); err != nil {
		return *err
	}
	return nil
}

// report tells of a failure outside of any call.
func (s *Store) report(err error) {
	s.opts.Logger.Error("store", "err", err)
	if s.opts.OnError != nil {
		s.background(func() { s.opts.OnError(err) })
	}
}
