package store

import (
	"errors"
	"math"
	"time"

	"github.com/kvorum/kvorum/internal/omap"
)

// maxExpirePerWrite is the maximum number of expired keys that one write of the worker
// removes.
const maxExpirePerWrite = 1000

// startWorkers starts the goroutines that the options ask for, besides the committer.
func (s *Store) startWorkers() {
	s.every(s.opts.CleanupInterval, s.expiredSeen, s.removeExpired)
	if s.log != nil && !s.opts.SyncWrites {
		s.every(s.opts.SyncInterval, nil, func() {
			if err := s.log.Sync(); err != nil && s.failure() == nil {
				_ = s.fail(err) // reported there
			}
		})
	}
	if s.log != nil {
		s.workers.Go(s.watchLog)
	}
	if s.opts.PersistenceMode == PersistenceNone {
		return
	}
	interval := s.opts.SnapshotInterval
	if !s.opts.PersistenceMode.hasSnapshots() {
		interval = never
	}
	s.workers.Go(func() { s.snapshotLoop(interval) })
}

// watchLog latches the store when the log fails by itself: it writes, too, when
// it has been idle.
func (s *Store) watchLog() {
	select {
	case <-s.log.Failed():
		_ = s.fail(s.log.Err()) // reported there
	case <-s.stop:
	}
}

// never is an interval that does not pass.
const never time.Duration = math.MaxInt64

// every runs work at each interval, and when early is sent to, until Close.
func (s *Store) every(interval time.Duration, early <-chan struct{}, work func()) {
	s.workers.Go(func() {
		tick := time.NewTicker(interval)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
			case <-early:
			case <-s.stop:
				return
			}
			work()
		}
	})
}

// nudge fills a channel of one slot.
func nudge(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// removeExpired removes all keys past their deadline. It costs by their number.
func (s *Store) removeExpired() {
	for more := true; more; {
		err := s.submit(func(p *plan) error {
			p.expireDue(func() bool { return len(p.expired) == maxExpirePerWrite })
			more = len(p.expired) == maxExpirePerWrite
			return nil
		})
		if err != nil {
			return // closed, or failed and reported
		}
	}
}

// background runs a callback on a goroutine that Close waits for.
func (s *Store) background(f func()) { s.callbacks.Go(f) }

// Close stops the store and waits until all of it has ended. Writes that are
// not decided yet get ErrStoreClosed. With snapshots it saves a last one, else
// it syncs the log. Keys in memory alone that have expired are reported to
// OnExpire. Of a store that has failed it returns that failure, too. It is
// idempotent; later calls return what the first did. No callback may call it.
func (s *Store) Close() error {
	s.closeOnce.Do(func() { s.closeErr = s.close() })
	return s.closeErr
}

func (s *Store) close() error {
	s.closed.Store(true)
	close(s.stop)
	<-s.committed
	s.deciding.Lock() // waits for the last committer
	last := s.frozen()
	s.deciding.Unlock()
	s.workers.Wait()
	if s.opts.PersistenceMode == PersistenceNone {
		s.tellDue(last.clock)
	}
	if s.log != nil && s.log.Err() != nil {
		_ = s.fail(s.log.Err()) // nobody may have looked since
	}
	var err error
	if s.opts.PersistenceMode.hasSnapshots() && s.failure() == nil {
		err = s.save(last)
	}
	s.saving <- struct{}{} // a Snapshot that is under way ends first; never given back
	close(s.sealed)
	if failure := s.failure(); failure != nil {
		err = failure // save returned it, if that is the cause
	}
	err = errors.Join(err, s.closeData())
	s.callbacks.Wait()
	return err
}

// tellDue calls back for keys that are past their deadline and will never be
// removed: they end with the store.
func (s *Store) tellDue(now int64) {
	var p plan
	for r := range s.due(omap.Record{}, now) {
		p.expired = append(p.expired, r)
	}
	s.tell(&p)
}
