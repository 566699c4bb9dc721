package fsm

import (
	"encoding/binary"

	"github.com/cespare/xxhash/v2"

	"github.com/kvorum/kvorum/internal/omap"
	"github.com/kvorum/kvorum/kv"
)

// The state hash is the sum, modulo 2^64, of the hashes of all items and retired ids. A sum
// does not depend on the order of the changes, and updating it costs no more than hashing
// the item that changes. It detects replicas that differ by accident. It is not
// collision-resistant: an attacker can make two states with one hash.

// Checkpoint is the state hash after an entry that asked for it (CheckpointRequest). It
// covers keys, values, revisions, retired ids, the revision counter, the cluster clock and
// the highest command version.
type Checkpoint = kv.Checkpoint

// checkpointsKept is the maximum number of checkpoints that are remembered.
const checkpointsKept = 16

// Kinds of the summands. An id and a key with the same bytes have different hashes.
const (
	hashItem    = 1
	hashRetired = 2
)

// itemHash returns the hash of one item.
func itemHash(it omap.Item) uint64 {
	var head [1 + 4*8]byte
	head[0] = hashItem
	binary.LittleEndian.PutUint64(head[1:], uint64(len(it.Key)))
	binary.LittleEndian.PutUint64(head[9:], it.CreateRevision)
	binary.LittleEndian.PutUint64(head[17:], it.ModRevision)
	binary.LittleEndian.PutUint64(head[25:], it.Version)
	return sum64(head[:], it.Key, it.Value)
}

// retiredHash returns the hash of one retired id.
func retiredHash(id string) uint64 { return sum64([]byte{hashRetired}, id, nil) }

func sum64(head []byte, key string, value []byte) uint64 {
	var d xxhash.Digest
	d.Reset()
	_, _ = d.Write(head) // documented never to fail
	_, _ = d.WriteString(key)
	_, _ = d.Write(value)
	return d.Sum64()
}

// checkpointHash returns the hash of a checkpoint. sum is that of the state's items and
// retired ids.
func checkpointHash(sum, revision uint64, clock int64, m marks) uint64 {
	var buf [64]byte
	b := binary.LittleEndian.AppendUint64(buf[:0], sum)
	b = binary.LittleEndian.AppendUint64(b, revision)
	b = binary.LittleEndian.AppendUint64(b, uint64(clock))
	return xxhash.Sum64(m.append(b))
}

// Checkpoints returns the newest checkpoints that were applied since the start or
// the last Restore, in ascending order of their indexes.
func (f *FSM) Checkpoints() []Checkpoint {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]Checkpoint(nil), f.checkpoints...)
}

// checkpointLocked records the state hash after the entry at index.
func (f *FSM) checkpointLocked(index uint64) {
	if len(f.checkpoints) == checkpointsKept {
		f.checkpoints = append(f.checkpoints[:0], f.checkpoints[1:]...)
	}
	s := f.state.Load()
	f.checkpoints = append(f.checkpoints, Checkpoint{
		Index: index, Hash: checkpointHash(s.hash, s.revision.Load(), f.clock.Load(), *s.marks.Load()),
	})
}
