package replica

import (
	"fmt"
	"io"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/cluster/raftstore"
	"github.com/kvorum/kvorum/cluster/room"
)

// restorer is the state machine as raft has it. It applies an entry only once that is durable
// on this node; raftstore.Log.Overlap says why raft hands it over earlier. Before a snapshot
// of the leader's replaces the state, it asks whether memory has room for both.
//
// Usually a restore builds the new state beside the present one, so that reads continue and a
// failed restore changes nothing. If the two do not fit into memory, the present state
// is dropped first. Then reads are refused as behind until the new one is complete.
//
// A failed restore is final for the node, whether the present state is left or not. Its disk
// has the snapshot, and its log begins there, so that raft can't continue from the present
// state; the leader would send the same snapshot again and again. The next start loads it from
// disk, or refuses to start and says why.
type restorer struct {
	Machine
	r *Replica
}

var _ raft.BatchingFSM = restorer{}

// Apply implements raft.FSM.
func (m restorer) Apply(log *raft.Log) any {
	return m.ApplyBatch([]*raft.Log{log})[0]
}

// ApplyBatch implements raft.BatchingFSM. If the log fails, nothing is applied, and the
// response to each entry is that failure. It is final for the node, and these entries may be
// committed by others.
func (m restorer) ApplyBatch(logs []*raft.Log) []any {
	err := m.r.AwaitDurable(logs[len(logs)-1].Index, nil)
	if err == nil {
		responses := m.Machine.ApplyBatch(logs)
		m.r.clock.applied(m.Clock())
		return responses
	}
	responses := make([]any, len(logs))
	for i := range responses {
		responses[i] = err
	}
	return responses
}

// Snapshot implements raft.FSM. After a failure of the log raft takes entries for applied
// that are not.
func (m restorer) Snapshot() (raft.FSMSnapshot, error) {
	if err := m.r.logs.Failed(); err != nil {
		return nil, err
	}
	return m.Machine.Snapshot()
}

// Restore implements raft.FSM.
func (m restorer) Restore(source io.ReadCloser) error {
	r := m.r
	meta := r.snaps.Newest()
	if meta == nil || m.Len() == 0 || r.cfg.Memory.Limit == 0 {
		return m.restore(source)
	}
	coming, err := r.storedSize(meta)
	if err != nil || r.memory.SecondStateFits(coming) {
		return m.restore(source) // it reports what is wrong with the snapshot
	}
	r.log.Info("memory has no room for two states: the present one is dropped before the leader's snapshot is loaded",
		"keys", m.Len(), "snapshot keys", coming.Keys, "snapshot", coming.Bytes, "limit", r.cfg.Memory.Limit)
	r.memory.Replace(coming)
	r.gone.Add(1)
	m.LetGo()
	if err := m.restore(source); err != nil {
		return err
	}
	r.memory.Replaced()
	r.gone.Add(1)
	return nil
}

// restore loads a snapshot of the leader's. An error stops the node, unless it stops already.
func (m restorer) restore(source io.ReadCloser) error {
	err := m.Machine.Restore(source)
	if err == nil || m.r.ctx.Err() != nil {
		return err
	}
	err = fmt.Errorf("the leader's snapshot can't be loaded; %w: %w", raftstore.ErrRestart, err)
	m.r.fatal.Fail(err)
	return err
}

// storedSize returns the size of the state in a snapshot on disk.
func (r *Replica) storedSize(meta *raft.SnapshotMeta) (room.Data, error) {
	_, state, err := r.snaps.Open(meta.ID)
	if err != nil {
		return room.Data{}, err
	}
	defer func() { _ = state.Close() }() // only read from
	return r.sizeOf(meta, state)
}

// sizeOf returns the size of the state in a snapshot, by its length and its header, which it
// reads from the beginning of state.
func (r *Replica) sizeOf(meta *raft.SnapshotMeta, state io.Reader) (room.Data, error) {
	keys, revisions, err := r.machine.SnapshotItems(state)
	return room.SnapshotData(meta.Size, keys, revisions), err
}
