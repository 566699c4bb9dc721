package fsm

import (
	"fmt"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/store"
)

// Apply implements raft.FSM: it is an ApplyBatch of one entry. Raft calls it
// while it recovers a cluster by force.
func (f *FSM) Apply(l *raft.Log) any { return f.applyEntry(l) }

// ApplyBatch implements raft.BatchingFSM. The response to an entry is a
// []Result with one slot for each command of the batch, nil for an entry that
// isn't a command, or an error if the entry was not applied: an *EntryError,
// ErrStaleEntry or ErrClosed.
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
		// Raft doesn't do this. If it did, applying twice would part this replica
		// from the others; and as nobody can say that this is the entry applied
		// then, nobody who waits for it may be told that it was done.
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
	batch, err := DecodeBatch(l.Data)
	if err != nil {
		return f.stop(&EntryError{Index: l.Index, Term: l.Term, Err: err})
	}
	results := f.applyCommands(l, batch)
	f.revisionWaiters.release(f.Revision())
	f.waiters.release(l.Index)
	return results
}

// stop reports err and waits for Close. Continuing would part this replica from
// those that understand the entry.
func (f *FSM) stop(err *EntryError) error {
	f.onFatal(err)
	<-f.closed
	return err
}

func (f *FSM) applyCommands(l *raft.Log, batch Batch) []Result {
	f.mu.Lock()
	defer f.mu.Unlock()
	t := tx{state: f.state.Load()}
	t.revision = t.state.revision.Load()
	results := make([]Result, len(batch.Commands))
	for i := range batch.Commands {
		results[i] = t.apply(&batch.Commands[i])
	}
	t.state.step.Commit(func() {
		t.state.revision.Store(t.revision)
		f.publishLocked(l, max(f.clock.Load(), batch.Clock))
	})
	if t.checkpoint {
		f.checkpointLocked(l.Index)
	}
	return results
}

// publishLocked says that l is applied. The index comes last: it is what
// readers wait for.
func (f *FSM) publishLocked(l *raft.Log, clock int64) {
	f.clock.Store(clock)
	f.appliedTerm.Store(l.Term)
	f.appliedIndex.Store(l.Index)
}

// tx applies the commands of one entry, in order, to the state's step: each sees what
// those before it did, and readers see nothing of it yet. The outcome depends on the
// state and the commands only: no clock, no randomness, no order of a Go map.
type tx struct {
	state    *state
	revision uint64 // of the last change, counted on without gaps

	checkpoint bool // the entry asks for one
}

func (t *tx) apply(c *Command) Result {
	switch c.Op {
	case OpPut:
		return t.put(c)
	case OpDelete:
		return t.delete(c)
	case OpClock:
		return Result{Status: StatusOK, Revision: t.revision}
	case OpRetire:
		t.state.retire(c.Key)
		return Result{Status: StatusOK, Revision: t.revision}
	case OpCheckpoint:
		t.checkpoint = true
		return Result{Status: StatusOK, Revision: t.revision}
	default:
		// Decoding lets no other operation through.
		panic(fmt.Sprintf("fsm: operation %d", c.Op))
	}
}

func (t *tx) put(c *Command) Result {
	old, existed := t.state.step.Get(c.Key)
	if !c.Cond.holds(old, existed) {
		return t.unchanged(StatusConditionFailed, old)
	}
	t.revision++
	it := store.Item{
		Key:            c.Key,
		Value:          c.Value,
		CreateRevision: t.revision,
		ModRevision:    t.revision,
		Version:        1,
	}
	if existed {
		it.CreateRevision = old.CreateRevision
		it.Version = old.Version + 1
	}
	if existed {
		t.state.hash -= itemHash(old)
	}
	t.state.hash += itemHash(it)
	t.state.step.Set(it)
	return Result{Status: StatusOK, Created: !existed, Revision: t.revision, Current: t.revision}
}

func (t *tx) delete(c *Command) Result {
	old, existed := t.state.step.Get(c.Key)
	if !c.Cond.holds(old, existed) {
		return t.unchanged(StatusConditionFailed, old)
	}
	if !existed {
		return t.unchanged(StatusNotFound, old)
	}
	t.revision++
	t.state.hash -= itemHash(old)
	t.state.step.Delete(c.Key)
	return Result{Status: StatusOK, Revision: t.revision}
}

// unchanged is the result of a command that left the key as it is: it, zero if absent.
func (t *tx) unchanged(status Status, it store.Item) Result {
	return Result{Status: status, Revision: t.revision, Current: it.ModRevision}
}

// holds reports whether the condition holds of a key that is it, if it exists.
func (c Condition) holds(it store.Item, exists bool) bool {
	switch c.Kind {
	case CondNone:
		return true
	case CondAbsent:
		return !exists
	case CondPresent:
		return exists
	case CondRevision:
		return exists && it.ModRevision == c.Revision
	default:
		// Decoding lets no other kind through.
		panic(fmt.Sprintf("fsm: condition %d", c.Kind))
	}
}
