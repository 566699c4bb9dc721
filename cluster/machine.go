package cluster

import (
	"fmt"
	"io"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/kv"
)

// machine is the state machine as raft has it: a snapshot of the leader's replaces
// the state only after what memory there is was asked.
//
// A restore builds the new state beside the present one, so that reads continue and a
// failed one changes nothing. Where the two do not fit into memory, the present state
// is dropped first: reads are refused as behind until the new one is complete, and a
// failed restore is final for the node. Its disk has the snapshot, so that the next
// start loads it.
type machine struct {
	Machine
	r *replica
}

var _ raft.BatchingFSM = machine{}

// Restore implements raft.FSM.
func (m machine) Restore(source io.ReadCloser) error {
	r := m.r
	meta := r.snaps.Newest()
	if meta == nil || m.Len() == 0 || r.memory.plan.Limit == 0 {
		return m.Machine.Restore(source)
	}
	coming, err := r.storedSize(meta)
	if err != nil || r.memory.secondStateFits(coming.keys, coming.size) {
		return m.Machine.Restore(source) // which reports what is wrong with it
	}
	r.log.Info("memory has no room for two states: the present one is dropped before the leader's snapshot is loaded",
		"keys", m.Len(), "snapshot keys", coming.keys, "snapshot", coming.size, "limit", r.memory.plan.Limit)
	r.memory.coming.Store(&coming)
	r.gone.Add(1)
	m.LetGo()
	if err := m.Machine.Restore(source); err != nil {
		err = fmt.Errorf("the state was let go of for a snapshot, which can't be loaded; %w: %w", ErrRestart, err)
		r.fatal.fail(err)
		return err
	}
	r.memory.coming.Store(nil)
	r.gone.Add(1)
	return nil
}

// storedSize returns how much a snapshot on disk holds.
func (r *replica) storedSize(meta *raft.SnapshotMeta) (dataSize, error) {
	_, state, err := r.snaps.Open(meta.ID)
	if err != nil {
		return dataSize{}, err
	}
	defer func() { _ = state.Close() }() // only read from
	return r.sizeOf(meta, state)
}

// sizeOf returns how much a snapshot holds, by its length and its header, which it reads
// from the beginning of state.
func (r *replica) sizeOf(meta *raft.SnapshotMeta, state io.Reader) (dataSize, error) {
	items, err := r.fsm.SnapshotItems(state)
	return dataSize{int(items), meta.Size}, err
}

// present returns nil if the state was whole from when version was read of gone until
// now; otherwise what was read of it since means nothing.
func (r *replica) present(version uint64) error {
	if version%2 == 1 || r.gone.Load() != version {
		return fmt.Errorf("%w: it loads a snapshot of the leader's", kv.ErrBehind)
	}
	return nil
}

// loadPercent is how much of Go's memory a state may take that is loaded at start.
const loadPercent = 95

// checkMemory fails where the newest snapshot, which holds data, can't be loaded into the
// memory that there is, with an error that names how much is needed: the kernel would end
// the node in the middle of the load, again and again. Nothing on disk is changed.
func (r *replica) checkMemory(data dataSize) error {
	p := r.cfg.Memory
	if p.Limit == 0 {
		return nil
	}
	need := stateMemory(data.keys, data.size)
	if need+memoryBase <= p.Heap*loadPercent/100 {
		return nil
	}
	return fmt.Errorf("the newest snapshot has %d keys with %d bytes, which take %d bytes of memory; %d may be taken (%s), and %d are needed: raise that limit; nothing was changed",
		data.keys, data.size, need, p.Limit, p.Source, memoryFor(need, r.cfg.MaxValueBytes))
}
