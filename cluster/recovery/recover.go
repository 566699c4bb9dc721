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

// Recover makes the node of dir, which does not run, the only member of a new cluster that
// has its whole state, and returns the new cluster's id. It is for a cluster that has lost
// its majority for good, and for one of its nodes only: every other one that is left
// must come back with an empty data directory. Entries that were never acknowledged may
// become part of the state. The whole state is in memory meanwhile.
//
// Errors are those of Survey, a *fsm.VersionError or *fsm.EntryError for an entry that this
// program can't apply, and those of the filesystem. The first two leave dir as it was. A call
// that fails later, or that a crash interrupts, leaves a node that refuses to start; another
// call finishes it.
func Recover(files wal.FS, dir string) (cluster string, err error) {
	err = withLock(files, dir, dirlock.Acquire, func(ident nodeid.Identity) error {
		machine, before, err := replay(files, dir, ident)
		if err != nil {
			return err
		}
		// The new id first: with the old log under it the node does not start.
		ident.Former = append(slices.Clone(ident.Former), ident.Cluster)
		ident.Cluster = nodeid.NewClusterID()
		if err := nodeid.Replace(files, dir, ident); err != nil {
			return err
		}
		if err := errors.Join(removeIfThere(files, filepath.Join(dir, nodeid.PlanFile)), ForgetNote(files, dir)); err != nil {
			return err
		}
		cluster = ident.Cluster
		return replaceStores(files, dir, before, ident, machine)
	})
	if err != nil {
		return "", err
	}
	return cluster, nil
}

// replay returns a state machine that has all of what dir holds.
func replay(files wal.FS, dir string, ident nodeid.Identity) (*fsm.FSM, Survivor, error) {
	var failed error
	var machine *fsm.FSM
	machine = fsm.New(fsm.Config{OnFatal: func(err error) {
		failed = err
		_ = machine.Close() // lets the apply return; always nil
	}})
	if _, err := survey(files, dir, ident, nil, nil); err != nil { // all of it is whole
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

// replaceStores puts a snapshot of machine at the end of the history, whose configuration
// has one voter, in the place of the old cluster's log and snapshots.
func replaceStores(files wal.FS, dir string, before Survivor, ident nodeid.Identity, machine *fsm.FSM) error {
	snapshot, err := machine.Snapshot()
	if err != nil {
		return err
	}
	defer snapshot.Release()
	self := ident.ServerID()
	alone := raftstore.History{
		LastIndex: before.LastIndex, LastTerm: before.LastTerm,
		Configuration: raft.Configuration{Servers: []raft.Server{{Suffrage: raft.Voter, ID: self, Address: raft.ServerAddress(self)}}},
	}
	owner := wal.Owner{Node: string(self), Cluster: ident.Cluster}
	return raftstore.Replace(files, dir, alone, owner, before.Cluster, snapshot.Persist)
}

// removeIfThere removes a file, which may be missing.
func removeIfThere(files wal.FS, path string) error {
	if err := files.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove %s: %w", filepath.Base(path), err)
	}
	return nil
}
