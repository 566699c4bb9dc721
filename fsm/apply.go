package fsm

import (
	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/internal/omap"
)

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
	return f.applyRequestsLocked(l, &f.batch), nil
}

func (f *FSM) applyRequestsLocked(l *raft.Log, b *batch) []byte {
	t := &f.tx
	t.state = f.state.Load()
	t.revision = t.state.revision.Load()
	defer func() { *t = tx{results: t.results[:0]} }()
	responses := make([]byte, 0, usualResponse*len(b.requests))
	compares, ops := b.compares, b.ops
	for _, r := range b.requests {
		responses = t.request(responses, compares[:r.compares], ops[:r.ops])
		compares, ops = compares[r.compares:], ops[r.ops:]
	}
	t.state.step.Commit(func() {
		t.state.revision.Store(t.revision)
		if b.version > 1 {
			marked := t.state.marks.Load().with(b.version, l.Index)
			t.state.marks.Store(&marked)
		}
		f.publishLocked(l, max(f.clock.Load(), b.clock))
	})
	if t.checkpoint {
		f.checkpointLocked(l.Index)
	}
	return responses
}

// publishLocked makes it known that l is applied. It stores the index last, because readers
// wait for the index.
func (f *FSM) publishLocked(l *raft.Log, clock int64) {
	f.clock.Store(clock)
	f.appliedTerm.Store(l.Term)
	f.appliedIndex.Store(l.Index)
}

// tx applies the requests of one entry, in order, to the state's step. Each request sees
// the changes of previous ones, and readers see none of them yet. The outcome depends on
// the state and the requests only: tx uses no clock, no randomness and no order of a Go
// map.
type tx struct {
	state    *state
	revision uint64 // of the last change; increases without gaps
	changed  bool   // the present request changes something, and takes the next revision

	old     omap.Item // of the present operation's key, before the operation
	existed bool      // whether the key exists before the operation

	checkpoint bool   // the entry asks for one
	results    []byte // of the present request; the next one uses the memory again
}

// request applies one request and appends the response to it. All compares look at
// the state before it, and so does each operation, because no key is changed twice.
func (t *tx) request(dst []byte, compares []decodedCompare, ops []decodedOp) []byte {
	kind := responseDone
	for i := range compares {
		c := &compares[i]
		if it, exists := t.state.step.Get(c.key); !c.holds(it, exists, c.revision) {
			kind = responseFailed
			break
		}
	}
	t.changed, t.results = false, t.results[:0]
	for i := range ops {
		t.operation(&ops[i], kind == responseDone)
	}
	if t.changed {
		t.revision++
	}
	return appendResponse(dst, kind, t.revision, t.results)
}

// operation applies one operation, if done, and adds its result, if it has one.
func (t *tx) operation(o *decodedOp, done bool) {
	if !o.keyed {
		o.apply(t, o) // its request has no compares
		return
	}
	t.old, t.existed = t.state.step.Get(o.key)
	existed, mod := t.existed, t.old.ModRevision
	if done {
		mod = o.apply(t, o)
	}
	t.results = appendResult(t.results, existed, mod)
}

// next returns the revision that the request takes, because it changes something.
func (t *tx) next() uint64 {
	t.changed = true
	return t.revision + 1
}

func (t *tx) put(o *decodedOp) uint64 {
	revision := t.next()
	it := omap.Item{
		Key:            o.key,
		Value:          o.value,
		CreateRevision: revision,
		ModRevision:    revision,
		Version:        1,
	}
	if t.existed {
		it.CreateRevision = t.old.CreateRevision
		it.Version = t.old.Version + 1
		t.state.hash -= itemHash(t.old)
	}
	t.state.hash += itemHash(it)
	t.state.step.Set(it)
	return revision
}

func (t *tx) delete(o *decodedOp) uint64 {
	if t.existed {
		t.next()
		t.state.hash -= itemHash(t.old)
		t.state.step.Delete(o.key)
	}
	return 0
}
