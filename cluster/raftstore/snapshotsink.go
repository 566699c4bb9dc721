package raftstore

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/hashicorp/raft"
	"github.com/kvorum/kvorum/internal/sealed"
	"github.com/kvorum/kvorum/wal"
)

// errSnapshotCancelled is returned by a sink's Close after its Cancel. After a success
// raft would trim the entries that the snapshot covers.
var errSnapshotCancelled = errors.New("snapshot was cancelled")

// snapshotSink writes one snapshot.
//
// After a failed write or sync, Close fails and removes the snapshot, but the node
// continues. Nothing depends on an unfinished snapshot: its files are never used again,
// and the log still holds the entries that it would cover. Raft reports the error, of a
// full disk for instance, and a later snapshot may succeed. Only a failure to make a
// finished snapshot's name durable is fatal; see publish.
type snapshotSink struct {
	store *Snapshots
	meta  *raft.SnapshotMeta
	dir   string // of the unfinished snapshot

	// busy is a lock: a channel of capacity one, since it is held across file calls. It
	// guards the fields below.
	busy  chan struct{}
	file  wal.File
	state *stateWriter
	done  bool  // closed or cancelled
	err   error // the error of Close
}

var _ raft.SnapshotSink = (*snapshotSink)(nil)

func newSnapshotSink(s *Snapshots, meta *raft.SnapshotMeta) (*snapshotSink, error) {
	k := &snapshotSink{store: s, meta: meta, dir: filepath.Join(s.dir, meta.ID+unfinishedSuffix), busy: make(chan struct{}, 1)}
	if err := s.fs.MkdirAll(k.dir); err != nil {
		return nil, fmt.Errorf("create snapshot: %w", err)
	}
	file, err := s.fs.Create(filepath.Join(k.dir, stateFile))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("create snapshot: %w", err), s.fs.RemoveAll(k.dir))
	}
	k.file, k.state = file, newStateWriter(file, meta.Term, meta.Index)
	s.opened.Add(1)
	return k, nil
}

// ID implements raft.SnapshotSink.
func (k *snapshotSink) ID() string { return k.meta.ID }

// Write implements io.Writer. It buffers up to 256 KiB.
func (k *snapshotSink) Write(p []byte) (int, error) {
	k.busy <- struct{}{}
	defer func() { <-k.busy }()
	if k.done {
		return 0, errors.New("write to a finished snapshot")
	}
	n, err := k.state.Write(p)
	return n, errors.Join(err, k.store.wrote(k.meta.Index, k.meta.Term, n))
}

// Close makes the snapshot durable and the store's newest. It fails if a write has
// failed, and then removes the snapshot. A later call returns the result of the first
// one, and after Cancel an error.
func (k *snapshotSink) Close() error {
	k.busy <- struct{}{}
	defer func() { <-k.busy }()
	if k.done {
		return k.err
	}
	k.done = true
	defer k.store.opened.Add(-1)
	err := k.finish()
	if err == nil {
		err = k.store.publish(k.meta)
	}
	if err != nil {
		k.err = fmt.Errorf("snapshot %s: %w", k.meta.ID, err)
		k.err = errors.Join(k.err, k.store.fs.RemoveAll(k.dir))
	}
	return k.err
}

// Cancel removes the snapshot. After Close it does nothing.
func (k *snapshotSink) Cancel() error {
	k.busy <- struct{}{}
	defer func() { <-k.busy }()
	if k.done {
		return nil
	}
	k.done, k.err = true, errSnapshotCancelled
	defer k.store.opened.Add(-1)
	return errors.Join(k.file.Close(), k.store.fs.RemoveAll(k.dir))
}

// finish makes both files and their directory durable, and closes them.
func (k *snapshotSink) finish() error {
	err := k.state.finish()
	if err == nil {
		err = k.file.Sync()
	}
	if err := errors.Join(err, k.file.Close()); err != nil {
		return err
	}
	k.meta.Size = k.state.total
	// This syncs the directory too, after both files have their names.
	return sealed.Write(k.store.fs, filepath.Join(k.dir, metaFile), metaFormat, k.meta)
}
