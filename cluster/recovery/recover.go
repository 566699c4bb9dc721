package recovery

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/cluster/raftstore"
	"github.com/kvorum/kvorum/fsm"
	"github.com/kvorum/kvorum/internal/dirlock"
	"github.com/kvorum/kvorum/internal/nodeid"
	"github.com/kvorum/kvorum/wal"
)

// Recover makes the node of dir the only member of a new cluster, with the node's whole
// state, and returns the new cluster's id. The node must not run. Recover is for a cluster
// that has lost its majority for good, and for one of its nodes only: every other node that
// is left must return with an empty data directory. Entries that were never acknowledged
// may become part of the state. The whole state is in memory meanwhile.
//
// Errors are those of Survey, a *fsm.VersionError or *fsm.EntryError for an entry that this
// program can't apply, and those of the filesystem. After the first two, dir is unchanged.
// A call that fails later, or is interrupted by a crash, leaves a node that refuses to
// start; another call finishes the recovery.
func Recover(files wal.FS, dir string) (cluster string, err error) {
	err = withLock(files, dir, dirlock.Acquire, func(ident nodeid.Identity) error {
		machine, survivor, err := replay(files, dir, ident)
		if err != nil {
			return err
		}
		// The new id is written first: with this id and the old log the node does not start.
		ident.Former = append(slices.Clone(ident.Former), ident.Cluster)
		ident.Cluster = nodeid.NewClusterID()
		if err := nodeid.Replace(files, dir, ident); err != nil {
			return err
		}
		if err := errors.Join(removeIfThere(files, filepath.Join(dir, nodeid.PlanFile)), ForgetNote(files, dir)); err != nil {
			return err
		}
		cluster = ident.Cluster
		return replaceStores(files, dir, survivor, ident, machine)
	})
	if err != nil {
		return "", err
	}
	return cluster, nil
}

// replay returns a state machine with the state of dir: its snapshot and all entries
// behind it.
func replay(files wal.FS, dir string, ident nodeid.Identity) (*fsm.FSM, Survivor, error) {
	var failed error
	var machine *fsm.FSM
	machine = fsm.New(fsm.Config{OnFatal: func(err error) {
		failed = err
		_ = machine.Close() // lets the apply return; always nil
	}})
	if _, err := survey(files, dir, ident, nil, nil); err != nil { // checks everything first
		return nil, Survivor{}, err
	}
	restore := func(_ *raft.SnapshotMeta, state io.Reader) error { return machine.Restore(io.NopCloser(state)) }
	s, err := survey(files, dir, ident, restore, func(log *raft.Log) {
		if log.Type == raft.LogCommand || log.Type == raft.LogConfiguration {
			log.Data = bytes.Clone(log.Data)
			machine.Apply(log)
		}
	})
	if err == nil {
		err = failed
	}
	return machine, s, err
}

// replaceStores replaces the old cluster's log and snapshots by one snapshot of machine. It
// is at the end of the survivor's log, and its configuration has one voter.
func replaceStores(files wal.FS, dir string, survivor Survivor, ident nodeid.Identity, machine *fsm.FSM) error {
	snapshot, err := machine.Snapshot()
	if err != nil {
		return err
	}
	defer snapshot.Release()
	self := ident.ServerID()
	alone := raftstore.History{
		LastIndex: survivor.LastIndex, LastTerm: survivor.LastTerm,
		Configuration: raft.Configuration{Servers: []raft.Server{{Suffrage: raft.Voter, ID: self, Address: raft.ServerAddress(self)}}},
	}
	owner := wal.Owner{Node: string(self), Cluster: ident.Cluster}
	return raftstore.Replace(files, dir, alone, owner, survivor.Cluster, snapshot.Persist)
}

// removeIfThere removes a file, which may be missing.
func removeIfThere(files wal.FS, path string) error {
	if err := files.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove %s: %w", filepath.Base(path), err)
	}
	return nil
}
