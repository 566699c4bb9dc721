package fsm

import "github.com/hashicorp/raft"

// Apply implements raft.FSM: it is an ApplyBatch of one entry. Raft calls it in
// raft.RecoverCluster.
func (f *FSM) Apply(l *raft.Log) any { return f.applyEntry(l) }

// ApplyBatch implements raft.BatchingFSM. The response to an entry is a []byte with the
// responses to its requests, one after the other, each with its length before it; see
// DecodeResponse. It is nil for an entry of raft itself, which has no requests. If the
// entry was not applied, it is an error: an *EntryError, ErrStaleEntry or ErrClosed.
func (f *FSM) ApplyBatch(logs []*raft.Log) []any {
	responses := make([]any, len(logs))
	for i, l := range logs {
		responses[i] = f.applyEntry(l)
	}
	return responses
}

// applyEntry applies the whole of one entry, or nothing of it.
func (f *FSM) applyEntry(l *raft.Log) any {
	f.use()
	select {
	case <-f.closed:
		return ErrClosed
	default:
	}
	if applied := f.appliedIndex.Load(); l.Index <= applied {
		// Raft doesn't do this. If it did, and the entry were applied twice, this replica
		// would differ from the others. This may be another entry than the one that was
		// applied with its index, so its proposer must not get the answer that it was done.
		f.logger.Warn("ignored an entry that is applied already", "index", l.Index, "term", l.Term, "applied", applied)
		return ErrStaleEntry
	}
	if l.Type != raft.LogCommand {
		f.mu.Lock()
		f.publishLocked(l, f.clock.Load())
		f.mu.Unlock()
		f.waiters.release(l.Index)
		return nil
	}
	responses, err := f.applyCommand(l)
	if err != nil {
		return f.stop(&EntryError{Index: l.Index, Term: l.Term, Err: err})
	}
	f.revisionWaiters.release(f.Revision())
	f.waiters.release(l.Index)
	return responses
}

// stop reports err and waits for Close. If this replica continued without the entry, it
// would differ from those that understand it.
func (f *FSM) stop(err *EntryError) error {
	f.onFatal(err)
	<-f.closed
	return err
}

// usualResponse is the usual number of bytes of the response to a request.
const usualResponse = 16

// applyCommand applies an entry that has requests, or returns why it can't be decoded.
func (f *FSM) applyCommand(l *raft.Log) ([]byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	defer f.batch.reset()
	if err := f.codec.entry(l.Data, &f.batch); err != nil {
		return nil, err
	}
	return f.applyRequestsLocked(l, &f.batch, !f.answerAwaited || f.awaited.has(l.Data)), nil
}

// applyRequestsLocked applies an entry's requests, and returns the responses to them if they
// are answered to somebody.
func (f *FSM) applyRequestsLocked(l *raft.Log, b *batch, answered bool) []byte {
	t, s := &f.tx, f.state.Load()
	clock := max(f.clock.Load(), b.clock)
	t.begin(s, f.hub, l, clock, answered)
	defer t.end()
	if b.version >= historyVersion && !t.data.History() {
		t.data.KeepHistory()
		s.hash.history = true
	}
	s.answers.drop(t.clock, s.settings.Load().Idempotency.WithDefaults(), dropPerEntry)
	responses, prints := make([]byte, 0, usualResponse*len(b.requests)), b.prints
	for i := range b.requests {
		if len(prints) > 0 && i%fetchAhead == 0 {
			s.answers.fetch(b.requests[i:min(i+fetchAhead, len(b.requests))])
		}
		if r := &b.requests[i]; r.IdempotencyKey != "" {
			responses, prints = t.once(responses, r, prints[0]), prints[1:]
		} else {
			responses, _ = t.request(responses, r)
		}
		if !answered {
			responses = responses[:0]
		}
	}
	t.data.Commit(func() {
		if b.version > 1 {
			marked := s.marks.Load().with(b.version, l.Index)
			s.marks.Store(&marked)
		}
		s.countAnswers()
		s.countLeases()
		f.publishLocked(l, t.clock)
	})
	t.entry.Published(s.data.Revision())
	f.evicted.Add(t.evicted)
	f.deadlineLocked()
	if t.checkpoint {
		f.checkpointLocked(l.Index)
	}
	return responses
}

// historyVersion is the lowest command version whose entries begin the history. Programs
// that lack it keep none, so a state that they may have too has none either.
const historyVersion = 3

// answersVersion is the lowest command version that has idempotency keys, and keeps answers.
const answersVersion = 4

// publishLocked makes it known that l is applied. It stores the index last, because readers
// wait for the index.
func (f *FSM) publishLocked(l *raft.Log, clock int64) {
	f.clock.Store(clock)
	f.appliedTerm.Store(l.Term)
	f.appliedIndex.Store(l.Index)
}
