package fsm

import (
	"encoding/binary"
	"math/bits"

	"github.com/cespare/xxhash/v2"

	"github.com/kvorum/kvorum/kv"
)

// stateHash is the hash of a state. Replicas whose states have different hashes at one index
// have diverged. It detects replicas that differ by accident. It is not
// collision-resistant: an attacker can make two states with one hash.
type stateHash struct {
	// items is the sum, modulo 2^64, of the hashes of all items and retired ids. A sum does
	// not depend on the order of the changes, and updating it costs no more than hashing
	// the item that changes.
	items uint64
	// attributes is the same for the attributes of items, which versions of the program
	// before command version 3 do not have.
	attributes uint64
	// changes is the hash of all changes since the history began, in order. History that is
	// compacted remains in it.
	changes uint64
	history bool // the state keeps history
}

// Checkpoint is the state hash after an entry that asked for it (CheckpointRequest). It
// covers items, retired ids, the revision counter, the cluster clock and the marks; once
// there is a history, also every change of it, the compact revision and the settings; after
// entries of command version 4, also the kept answers and the leases.
type Checkpoint = kv.Checkpoint

// checkpointsKept is the maximum number of checkpoints that are remembered.
const checkpointsKept = 16

// Kinds of what is hashed. An id and a key with the same bytes have different hashes.
const (
	hashItem       = 1
	hashRetired    = 2
	hashAttributes = 3
	hashDeleted    = 4
	hashRemoved    = 5 // deleted for another cause
	hashLease      = 6
	hashLeaseID    = 7 // what a new id of a lease is made of
)

// add adds an item, which a change has made.
func (h *stateHash) add(it *kv.Item) {
	item, attributes := itemHash(it), attributesHash(it)
	h.items += item
	h.attributes += attributes
	if h.history {
		h.change(item + attributes)
	}
}

// remove removes an item, which a change has replaced or removed.
func (h *stateHash) remove(it *kv.Item) {
	h.items -= itemHash(it)
	h.attributes -= attributesHash(it)
}

// deleted notes that a change has removed a key. Programs before command version 4 know no
// other cause than causeDelete, and hash none.
func (h *stateHash) deleted(key string, revision uint64, cause uint8) {
	if !h.history {
		return
	}
	var buf [1 + 8 + 1]byte
	head := append(buf[:0], hashDeleted)
	head = binary.LittleEndian.AppendUint64(head, revision)
	if cause != causeDelete {
		head = append(buf[:0], hashRemoved, cause)
		head = binary.LittleEndian.AppendUint64(head, revision)
	}
	h.change(sum64(head, key, nil))
}

// change adds the hash of a change to that of all changes.
func (h *stateHash) change(hash uint64) {
	const odd = 0x9e3779b97f4a7c15
	h.changes = bits.RotateLeft64((h.changes^hash)*odd, 29)
}

// itemHash returns the hash of an item without its attributes.
func itemHash(it *kv.Item) uint64 {
	var head [1 + 4*8]byte
	head[0] = hashItem
	binary.LittleEndian.PutUint64(head[1:], uint64(len(it.Key)))
	binary.LittleEndian.PutUint64(head[9:], it.CreateRevision)
	binary.LittleEndian.PutUint64(head[17:], it.ModRevision)
	binary.LittleEndian.PutUint64(head[25:], it.Version)
	return sum64(head[:], it.Key, it.Value)
}

// attributesHash returns the hash of an item's key and attributes, 0 if it has none.
func attributesHash(it *kv.Item) uint64 {
	if itemOptionsOf(it) == 0 {
		return 0
	}
	var head [1 + 3*8]byte
	head[0] = hashAttributes
	binary.LittleEndian.PutUint64(head[1:], uint64(it.Lease))
	binary.LittleEndian.PutUint64(head[9:], uint64(it.Deadline))
	binary.LittleEndian.PutUint64(head[17:], uint64(it.Flags)<<8|uint64(len(it.ContentType)))
	return sum64(append(head[:], it.ContentType...), it.Key, nil)
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

// checkpointHash returns the hash of a checkpoint of s at a time of the cluster clock.
func (s *state) checkpointHash(clock int64) uint64 {
	var buf [128]byte
	b := binary.LittleEndian.AppendUint64(buf[:0], s.hash.items)
	b = binary.LittleEndian.AppendUint64(b, s.data.Revision())
	b = binary.LittleEndian.AppendUint64(b, uint64(clock))
	b = s.marks.Load().append(b)
	if s.hash.history { // programs that lack it compute the hash without the following
		b = binary.LittleEndian.AppendUint64(b, s.hash.attributes)
		b = binary.LittleEndian.AppendUint64(b, s.hash.changes)
		b = binary.LittleEndian.AppendUint64(b, s.data.CompactRevision())
		b = appendSettings(b, s.settings.Load())
	}
	if s.marks.Load().since(0) >= answersVersion { // likewise
		b = binary.LittleEndian.AppendUint64(b, s.answers.hash)
		b = binary.LittleEndian.AppendUint64(b, s.answers.next)
		b = binary.LittleEndian.AppendUint64(b, s.leases.hash)
	}
	return xxhash.Sum64(b)
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
	f.checkpoints = append(f.checkpoints, Checkpoint{
		Index: index, Hash: f.state.Load().checkpointHash(f.clock.Load()),
	})
}
