package store

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/kvorum/kvorum/internal/omap"
)

// Bounds of an early snapshot.
const (
	// recordOverhead is the number of bytes that a record takes on disk besides key and
	// value, about the same in the log as in a snapshot.
	recordOverhead = 8 + itemNumbers
	// overdueFactor is the number of times its bound to which the log may grow. Then a
	// snapshot is taken, however few the changes are and however recent the last one is.
	overdueFactor = 4
)

// growth counts the writes since the last snapshot began, and says how urgent the
// next one is. It limits the rate of snapshots (a snapshot costs by the
// size of the store) and the length of the log (it costs disk, and time at
// New). The committer owns the fields that are not atomic.
type growth struct {
	dead  int64 // changes that left something behind in the log
	bytes int64 // of all changes, as the log holds them

	urgency atomic.Int32              // for the worker: notDue, due or overdue
	changed chan struct{}             // one slot: urgency has increased
	began   atomic.Pointer[time.Time] // when the last snapshot began; nil if there was none since New
}

const (
	notDue  int32 = iota
	due           // the log holds more dead bytes than a snapshot costs: wait for CompactionInterval
	overdue       // the log must not grow any more: don't wait
)

// add counts changes that were applied.
func (g *growth) add(changes []omap.Change) {
	for _, c := range changes {
		g.bytes += recordOverhead
		if c.Record().IsZero() {
			g.bytes += int64(len(c.Key()))
			g.dead++
			continue
		}
		g.bytes += c.Record().Size()
		if c.Record().Item().Version > 1 {
			g.dead++
		}
	}
}

// addClear counts a Clear, which leaves all keys behind in the log.
func (g *growth) addClear(keys int) { g.dead += int64(keys) }

// reset begins to count again: a snapshot has all that was applied. Should it
// fail, the next one is due after as much again.
func (g *growth) reset() {
	now := time.Now()
	g.dead, g.bytes = 0, 0
	g.urgency.Store(notDue)
	g.began.Store(&now)
}

// compactIfDue has a snapshot taken early when it is worth its cost. The committer
// calls it after it has applied changes.
func (s *Store) compactIfDue() {
	if next := s.compactionUrgency(); next > s.growth.urgency.Load() {
		s.growth.urgency.Store(next)
		nudge(s.growth.changed)
	}
}

// compactionUrgency compares the writes since the last snapshot with the cost of the
// next one. The committer calls it.
func (s *Store) compactionUrgency() int32 {
	g, o := &s.growth, s.opts
	size := s.bytes + int64(s.entries)*recordOverhead // of the next snapshot
	switch {
	case g.dead == 0:
		return notDue
	case g.bytes >= overdueFactor*max(size, o.CompactionBytes, DefaultCompactionBytes):
		return overdue
	case g.dead >= int64(max(o.CompactionThreshold, s.entries)) && g.bytes >= max(size, o.CompactionBytes):
		return due
	default:
		return notDue
	}
}

// compactionPause returns how long an early snapshot must still wait, and whether
// one is due at all.
func (s *Store) compactionPause() (pause time.Duration, wanted bool) {
	switch s.growth.urgency.Load() {
	case notDue:
		return 0, false
	case due:
		if began := s.growth.began.Load(); began != nil {
			pause = max(0, s.opts.CompactionInterval-time.Since(*began))
		}
	}
	return pause, true
}

// snapshotLoop takes a snapshot at each interval, and an early one when that is
// due, until Close.
func (s *Store) snapshotLoop(interval time.Duration) {
	tick, early := time.NewTicker(interval), time.NewTimer(never)
	defer tick.Stop()
	defer early.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-tick.C:
			s.snapshotInBackground()
			continue
		case <-early.C:
		case <-s.growth.changed:
		}
		pause, wanted := s.compactionPause()
		switch {
		case wanted && pause == 0:
			s.snapshotInBackground()
		case wanted:
			early.Reset(pause)
		}
	}
}

// snapshotInBackground takes a snapshot and reports its failure.
func (s *Store) snapshotInBackground() {
	if err := s.Snapshot(); err != nil && !errors.Is(err, ErrStoreClosed) && s.failure() == nil {
		s.report(err)
	}
}
