package cluster

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/cluster/raftstore"
	"github.com/kvorum/kvorum/fsm"
	"github.com/kvorum/kvorum/internal/dirlock"
	"github.com/kvorum/kvorum/internal/nodeid"
	"github.com/kvorum/kvorum/wal"
)

// Survivor is what the data directory of a node, which is not running, holds of
// its cluster's history.
type Survivor struct {
	Dir                        string
	Name, Incarnation, Cluster string
	// Former are the clusters that the node was the last of, each recovered from.
	Former []string
	// LastTerm and LastIndex are those of its newest entry: the greater, by term
	// and then by index, the more it knows.
	LastTerm, LastIndex uint64
	SnapshotIndex       uint64 // of its newest snapshot, 0 for none
	// Voters are the server ids that vote in the newest configuration it knows.
	Voters []string
}

// ServerID returns the name and incarnation that raft knows the node by.
func (s Survivor) ServerID() string { return s.Name + "." + s.Incarnation }

// SameHistory says whether all of survivors are of one cluster, or of what was
// recovered from it.
func SameHistory(survivors []Survivor) bool {
	of := func(s Survivor, cluster string) bool {
		return s.Cluster == cluster || slices.Contains(s.Former, cluster)
	}
	return slices.ContainsFunc(append(slices.Clone(survivors[0].Former), survivors[0].Cluster), func(cluster string) bool {
		return !slices.ContainsFunc(survivors, func(s Survivor) bool { return !of(s, cluster) })
	})
}

// Compare orders survivors by what they know.
func (s Survivor) Compare(other Survivor) int {
	return cmp.Or(cmp.Compare(s.LastTerm, other.LastTerm), cmp.Compare(s.LastIndex, other.LastIndex))
}

// MayLose says whether a write that was acknowledged may be in none of these
// directories: each one was synced by a majority of the voters, so that it is in
// one of them if there are as many as the others could not outvote.
func MayLose(survivors []Survivor) bool {
	best := slices.MaxFunc(survivors, Survivor.Compare)
	present := 0
	for _, id := range best.Voters {
		if slices.ContainsFunc(survivors, func(s Survivor) bool { return s.ServerID() == id }) {
			present++
		}
	}
	return present < len(best.Voters)-len(best.Voters)/2
}

// Survey reads the data directory of a node that is not running, and changes
// nothing but its LOCK. Errors are those of Check.
func Survey(dir string) (s Survivor, err error) {
	lock, err := dirlock.Acquire(dir)
	if err != nil {
		return Survivor{}, err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	return survey(wal.OS(), dir, nil, nil)
}

// survey is Survey of a locked directory. It has the newest snapshot restored, if there
// is one, and shows each entry behind it to visit; both may be nil.
func survey(files wal.FS, dir string, restore func(*raft.SnapshotMeta, io.Reader) error, visit func(*raft.Log)) (Survivor, error) {
	ident, found, err := nodeid.Load(files, dir, raftstore.Names())
	if err != nil {
		return Survivor{}, err
	}
	if !found {
		return Survivor{}, fmt.Errorf("%w: %s", ErrNoNode, dir)
	}
	s := Survivor{Dir: dir, Name: ident.Name, Incarnation: ident.Incarnation, Cluster: ident.Cluster, Former: ident.Former}
	h, err := raftstore.Read(files, dir, restore, visit)
	s.SnapshotIndex, s.LastIndex, s.LastTerm = h.SnapshotIndex, h.LastIndex, h.LastTerm
	if err != nil {
		return s, err
	}
	for _, server := range h.Configuration.Servers {
		if server.Suffrage == raft.Voter {
			s.Voters = append(s.Voters, string(server.ID))
		}
	}
	return s, nil
}

// Recover makes the node of dir, which is not running, the only member of a new
// cluster that has its whole state, and returns the new cluster's id. It is for
// a cluster that has lost its majority for good, and for one of its nodes only:
// every other one that is left must come back with an empty data directory.
// Entries that were never acknowledged may become part of the state. A call
// that fails half way leaves a node that refuses to start; a second call
// finishes it.
func Recover(dir string) (cluster string, err error) {
	lock, err := dirlock.Acquire(dir)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	return recoverNode(wal.OS(), dir)
}

func recoverNode(files wal.FS, dir string) (cluster string, err error) {
	var failed error
	var machine *fsm.FSM
	machine = fsm.New(fsm.Config{OnFatal: func(err error) {
		failed = err
		_ = machine.Close() // lets the apply return; always nil
	}})
	before, err := survey(files, dir, nil, nil) // all of it is whole
	if err != nil {
		return "", err
	}
	restore := func(_ *raft.SnapshotMeta, state io.Reader) error { return machine.Restore(io.NopCloser(state)) }
	if _, err := survey(files, dir, restore, func(log *raft.Log) {
		if log.Type == raft.LogCommand || log.Type == raft.LogConfiguration {
			log.Data = bytes.Clone(log.Data)
			machine.Apply(log)
		}
	}); err != nil {
		return "", err
	}
	if failed != nil {
		return "", failed
	}
	// The new id first: with the old log under it the node does not start.
	ident := nodeid.Identity{
		Name: before.Name, Incarnation: before.Incarnation, Cluster: nodeid.NewClusterID(), Former: append(before.Former, before.Cluster),
	}
	if err := nodeid.Replace(files, dir, ident); err != nil {
		return "", err
	}
	if err := errors.Join(removePlan(files, dir), forgetDivergence(files, dir)); err != nil {
		return "", err
	}
	return ident.Cluster, replaceStores(files, dir, before, ident, machine)
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
