package store

import (
	"errors"
	"fmt"

	"github.com/kvorum/kvorum/internal/omap"
	"github.com/kvorum/kvorum/wal"
)

// Bounds of a round.
const (
	maxRoundWrites = 1024
	maxRoundBytes  = 4 << 20 // of payloads, at which a round is full
	keepRoundBytes = 8 << 20 // the maximum size of a buffer that is kept for the next round
)

// round is a sequence of writes that are decided together. One append to the log makes
// all of them durable, and then they are applied together.
type round struct {
	first  uint64 // sequence of the first of the writes that change something
	writes []*write
	frames []wal.Frame // of the writes that change something; none without a log
	buf    []byte      // holds payloads of frames
	filled int         // bytes of all payloads

	// The effects of the writes that change something.
	steps   []int // the number of changes of each, which are the overlay's oldest
	entries int   // keys more than before
	bytes   int64 // of keys and values, more than before
	clear   bool  // the last write, the only one that changes something, removes everything

	err error // the append's
}

// full says whether the round takes no further write.
func (r *round) full() bool {
	return len(r.writes) >= maxRoundWrites || r.filled >= maxRoundBytes || r.clear
}

// reset empties the round and keeps the memory of a usual one.
func (r *round) reset() {
	clear(r.writes)
	clear(r.frames)
	if cap(r.buf) > keepRoundBytes {
		r.buf = nil
	}
	*r = round{writes: r.writes[:0], frames: r.frames[:0], buf: r.buf[:0], steps: r.steps[:0]}
}

// errAlone is the outcome of a decision that can be made only when all previous writes
// are applied.
var errAlone = errors.New("write must be decided alone")

// decide plans one write at now and adds it to the round. A write with an error as its
// outcome is added too, and changes nothing. If the write must wait until all previous
// ones are applied, decide returns false and leaves it as it was. The committer calls it.
func (s *Store) decide(r *round, w *write, now int64) bool {
	if s.clearing {
		return false // the overlay does not show that
	}
	w.err = s.planWrite(r, w, now)
	if len(s.over.changes) > 0 && (errors.Is(w.err, errAlone) || errors.Is(w.err, ErrStoreFull)) {
		w.err = nil // keys that are decided and not in data yet are no victims
		return false
	}
	r.writes = append(r.writes, w)
	return true
}

// planWrite plans one write at now, adds what it changes to the round, and returns
// its outcome.
func (s *Store) planWrite(r *round, w *write, now int64) error {
	if err := s.failure(); err != nil {
		return err
	}
	if len(r.steps) == 0 {
		r.first = s.decided + 1
	}
	start := s.over.mark()
	w.plan = plan{s: s, now: now, sequence: s.decided + 1, over: &s.over, start: start}
	err := w.decide(&w.plan)
	if err == nil {
		err = w.plan.makeRoom()
	}
	changes := w.plan.changes()
	if err == nil && s.log != nil && (len(changes) > 0 || w.plan.clear) {
		err = r.addFrame(&w.plan)
	}
	if err != nil {
		s.over.rollback(start)
		return err
	}
	if len(changes) > 0 || w.plan.clear {
		s.decided++
		r.steps = append(r.steps, len(changes))
		r.entries += s.over.entries - start.entries
		r.bytes += s.over.bytes - start.bytes
		r.clear = w.plan.clear
		s.clearing = r.clear
	}
	return nil
}

// addFrame adds the record of a plan for the log: one for a single change, a
// batch for several. One that the log could not take is ErrBatchTooLarge.
func (r *round) addFrame(p *plan) error {
	changes := p.changes()
	frame := wal.Frame{Type: wal.RecordTypeClear}
	switch {
	case p.clear:
	case len(changes) == 1:
		rec, began := logRecord(p, changes[0]), len(r.buf)
		r.buf = rec.AppendTo(r.buf)
		frame = wal.Frame{Type: rec.Type, Payload: r.buf[began:]}
	default:
		records := make([]*wal.Record, len(changes))
		for i, c := range changes {
			rec := logRecord(p, c)
			records[i] = &rec
		}
		frame = wal.Frame{Type: wal.RecordTypeBatch, Payload: wal.EncodeBatch(records)}
	}
	if len(frame.Payload) > wal.MaxPayload {
		return fmt.Errorf("%w: %d bytes with the keys that make room for it, the limit is %d",
			ErrBatchTooLarge, len(frame.Payload), wal.MaxPayload)
	}
	r.frames = append(r.frames, frame)
	r.filled += len(frame.Payload)
	return nil
}

// logRecord returns one change of a plan as the log's record, which aliases the change.
func logRecord(p *plan, c omap.Change) wal.Record {
	if c.Record().IsZero() {
		return wal.Record{Type: wal.RecordTypeDelete, Key: []byte(c.Key()), Timestamp: p.now}
	}
	return wal.Record{
		Type: wal.RecordTypePut, Key: c.Record().KeyBytes(), Value: c.Record().Value(),
		ExpiresAt: c.Record().Deadline(), Sequence: p.sequence, Timestamp: p.now,
	}
}

// apply shows the round's changes to readers, write by write. The round must
// be the oldest that is not applied. The committer calls it.
func (s *Store) apply(r *round) {
	s.entries += r.entries
	s.bytes += r.bytes
	applied := 0
	for _, n := range r.steps {
		changes := s.over.changes[applied : applied+n]
		applied += n
		s.data.Apply(changes)
		s.growth.add(changes)
		s.noteDeadlines(changes)
		s.sequence++
	}
	if r.clear {
		s.data.Clear()
		s.growth.addClear(s.entries)
		s.entries, s.bytes, s.clearing = 0, 0, false
	}
	s.over.drop(applied, r.entries, r.bytes)
	s.compactIfDue()
	for _, w := range r.writes {
		if w.after != nil && w.err == nil {
			w.after()
		}
	}
}

// abandon drops the changes that are decided: the store has failed, and none of them will
// be applied. The committer calls it.
func (s *Store) abandon() {
	s.over.reset()
	s.clearing = false
}
