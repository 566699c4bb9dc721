package fsm

import (
	"encoding/binary"

	"github.com/kvorum/kvorum/fsm/mvcc"
	"github.com/kvorum/kvorum/internal/wire"
)

// Reads on followers count for eviction by LRU and LFU too: the leader asks them for samples of their
// reads.

const (
	// maxSampledReads is the maximum number of keys of a sample.
	maxSampledReads = 1024
	// maxSampledBytes is the maximum number of bytes of its keys.
	maxSampledBytes = 64 << 10
)

// NotesReads reports whether reads of keys are noted, for eviction.
func (f *FSM) NotesReads() bool {
	return readsCount(f.state.Load().settings.Load().Quota.Eviction)
}

// TakeReads returns a sample of the reads on this replica since the last call, encoded: keys, each
// with its length before it and about the number of its reads behind it. It is empty without reads.
func (f *FSM) TakeReads() (sample []byte) {
	for _, one := range f.state.Load().data.TakeReads(maxSampledBytes) {
		sample = binary.AppendUvarint(wire.AppendBytes(sample, one.Key), one.Count)
	}
	return sample
}

// NoteReads notes reads on another replica, of which that one's TakeReads has returned a sample. The
// error wraps ErrMalformed; then none of them is noted.
func (f *FSM) NoteReads(sample []byte) error {
	var reads mvcc.Reads
	r := wire.NewReader(sample)
	for r.Len() > 0 && r.Err() == nil {
		if len(reads) == maxSampledReads {
			r.Malformed("too many keys in a sample of reads")
			break
		}
		reads = append(reads, mvcc.KeyReads{Key: alias(r.Bytes()), Count: r.Uvarint()})
	}
	if err := r.Err(); err != nil {
		return err
	}
	f.state.Load().data.NoteReads(reads)
	return nil
}
