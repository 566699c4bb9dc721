package raftstore

import (
	"errors"
	"math"

	"github.com/hashicorp/raft"
	"github.com/kvorum/kvorum/wal"
)

// A leader may send its followers an entry while it still writes the entry to its own disk
// (Ongaro, "Consensus: Bridging Theory and Practice", section 10.2.1). Then a write takes as
// long as the slower of the two syncs, not as long as both. Raft itself first waits for
// StoreLogs, and then counts the leader as a member that has the entries. So StoreLogs
// returns early, and its user keeps back what must not be known before the entries are
// durable: see Overlap.

// comingBatch is a batch that raft takes for stored, and whose write has not ended. Its
// fields never change, but for err, which is set before done is closed.
type comingBatch struct {
	first  uint64
	frames []wal.Frame
	done   chan struct{}
	err    error
}

// last returns the index of the last entry.
func (b *comingBatch) last() uint64 { return b.first + uint64(len(b.frames)) - 1 }

// errGone is returned by AwaitDurable to a caller that does not wait any longer.
var errGone = errors.New("nobody waits any more until entries are durable")

// Overlap makes StoreLogs return before the sync, and often before the write, if leading
// returns true and all of the entries are commands. Appends and truncations wait for that
// batch, so there is at most one; trims concern older entries. GetLog and LastIndex have its entries at once. Raft's main
// goroutine calls leading.
//
// Raft may then take entries for committed that are not durable here. The caller must
// neither apply them, nor tell anybody that they are committed, nor acknowledge them to
// another leader, before AwaitDurable of their index has returned nil. If the process ends
// earlier, then nobody has learned more than raft itself allows: that the entries were sent.
// Entries of other types, which raft acts on by itself, are durable when StoreLogs returns.
//
// A write that fails is as final as in StoreLogs. Its entries may be in the logs of
// followers, so the outcome of these commands is unknown.
func (s *Log) Overlap(leading func() bool) { s.leading.Store(&leading) }

// overlaps reports whether StoreLogs may return before logs are durable.
func (s *Log) overlaps(logs []*raft.Log) bool {
	leading := s.leading.Load()
	if leading == nil {
		return false
	}
	for _, log := range logs {
		if log.Type != raft.LogCommand {
			return false
		}
	}
	return (*leading)()
}

// storeSoon makes frames, of which log is the first, visible, and stores them on another
// goroutine. Its caller holds changing, which that goroutine releases; it ends with the write.
func (s *Log) storeSoon(log *raft.Log, frames []wal.Frame) {
	b := &comingBatch{first: log.Index, frames: frames, done: make(chan struct{})}
	s.coming.Store(b)
	go func() {
		defer func() { <-s.changing }()
		if b.err = s.store(log, frames); b.err == nil {
			s.coming.Store(nil)
		}
		close(b.done)
	}()
}

// frame returns the record at index, also of the batch that is being written.
func (s *Log) frame(index uint64) (wal.Frame, error) {
	for {
		// The batch is looked at first: it leaves coming when the write-ahead log has it.
		b := s.coming.Load()
		if b != nil && index >= b.first && index <= b.last() {
			return b.frames[index-b.first], nil
		}
		frame, err := s.wal.Get(index)
		if err == nil || s.coming.Load() == b {
			return frame, err
		}
	}
}

// Durable returns the index up to which all entries of this log are durable: the greatest
// uint64 while nothing is being written.
func (s *Log) Durable() uint64 {
	if b := s.coming.Load(); b != nil {
		return b.first - 1
	}
	return math.MaxUint64
}

// AwaitDurable waits until the entries up to index are durable. If they can't be, it returns
// the failure of the log. It returns errGone if gone is closed first; nil never is.
func (s *Log) AwaitDurable(index uint64, gone <-chan struct{}) error {
	b := s.coming.Load()
	if b == nil || index < b.first {
		return nil
	}
	select {
	case <-b.done:
		return b.err
	case <-gone:
		return errGone
	}
}

// Settle waits until no entry is being written.
func (s *Log) Settle() {
	s.changing <- struct{}{}
	<-s.changing
}
