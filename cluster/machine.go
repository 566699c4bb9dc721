package cluster

import (
	"fmt"
	"io"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/cluster/room"
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
	if meta == nil || m.Len() == 0 || r.cfg.Memory.Limit == 0 {
		return m.Machine.Restore(source)
	}
	coming, err := r.storedSize(meta)
	if err != nil || r.memory.SecondStateFits(coming) {
		return m.Machine.Restore(source) // which reports what is wrong with it
	}
	r.log.Info("memory has no room for two states: the present one is dropped before the leader's snapshot is loaded",
		"keys", m.Len(), "snapshot keys", coming.Keys, "snapshot", coming.Bytes, "limit", r.cfg.Memory.Limit)
	r.memory.Replace(coming)
	r.gone.Add(1)
	m.LetGo()
	if err := m.Machine.Restore(source); err != nil {
		err = fmt.Errorf("the state was let go of for a snapshot, which can't be loaded; %w: %w", ErrRestart, err)
		r.fatal.fail(err)
		return err
	}
	r.memory.Replaced()
	r.gone.Add(1)
	return nil
}

// storedSize returns how much a snapshot on disk holds.
func (r *replica) storedSize(meta *raft.SnapshotMeta) (room.Data, error) {
	_, state, err := r.snaps.Open(meta.ID)
	if err != nil {
		return room.Data{}, err
	}
	defer func() { _ = state.Close() }() // only read from
	return r.sizeOf(meta, state)
}

// sizeOf returns how much a snapshot holds, by its length and its header, which it reads
// from the beginning of state.
func (r *replica) sizeOf(meta *raft.SnapshotMeta, state io.Reader) (room.Data, error) {
	items, err := r.fsm.SnapshotItems(state)
	return room.Data{Keys: int(items), Bytes: meta.Size}, err
}

// present returns nil if the state was whole from when version was read of gone until
// now; otherwise what was read of it since means nothing.
func (r *replica) present(version uint64) error {
	if version%2 == 1 || r.gone.Load() != version {
		return fmt.Errorf("%w: it loads a snapshot of the leader's", kv.ErrBehind)
	}
	return nil
}
