package cluster

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"path/filepath"
	"slices"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/fsm"
	"github.com/kvorum/kvorum/internal/dirlock"
	"github.com/kvorum/kvorum/internal/entry"
	"github.com/kvorum/kvorum/wal"
)

// oldLogFormat is what the log of a recovered node is renamed to, below its data
// directory; the old cluster's id follows.
const oldLogFormat = "wal-of-%s"

// newLog is the name of a recovered node's log until the old one has been renamed.
const newLog = "wal.new"

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

	snapshot      *raft.SnapshotMeta // nil for none
	configuration raft.Configuration // the newest
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
	return survey(wal.OS(), dir, func(*raft.Log) {})
}

// survey is Survey of a locked directory. It shows each entry behind the newest
// snapshot to visit.
func survey(files wal.FS, dir string, visit func(*raft.Log)) (Survivor, error) {
	ident, found, err := loadIdentity(files, dir)
	if err != nil {
		return Survivor{}, err
	}
	if !found {
		return Survivor{}, fmt.Errorf("%w: %s", ErrNoNode, dir)
	}
	s := Survivor{Dir: dir, Name: ident.Name, Incarnation: ident.Incarnation, Cluster: ident.Cluster, Former: ident.Former}
	if err := s.readSnapshot(files); err != nil {
		return s, fmt.Errorf("read snapshots: %w", err)
	}
	if err := s.checkFloor(files); err != nil {
		return s, err
	}
	err = wal.Scan(files, filepath.Join(dir, walDir), max(s.SnapshotIndex, 1), func(index uint64, f wal.Frame) error {
		log, err := entry.Decode(f.Payload)
		if err != nil {
			return fmt.Errorf("entry %d: %w", index, err)
		}
		if index == s.SnapshotIndex {
			if log.Term != s.LastTerm {
				return errOverruled
			}
			return nil
		}
		s.LastIndex, s.LastTerm = log.Index, log.Term
		if log.Type == raft.LogConfiguration {
			s.configuration = raft.DecodeConfiguration(log.Data)
		}
		visit(&log)
		return nil
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, errOverruled) {
		return s, err
	}
	for _, server := range s.configuration.Servers {
		if server.Suffrage == raft.Voter {
			s.Voters = append(s.Voters, string(server.ID))
		}
	}
	return s, nil
}

// errOverruled ends the reading of a log that the snapshot contradicts.
var errOverruled = errors.New("the log is of a history that the snapshot has overruled")

// readSnapshot takes in the newest snapshot's description.
func (s *Survivor) readSnapshot(files wal.FS) error {
	store := &snapshotStore{fs: files, dir: filepath.Join(s.Dir, snapshotsDir), log: slog.New(slog.DiscardHandler)}
	names, err := store.finished()
	if err != nil || len(names) == 0 {
		return err
	}
	if s.snapshot, err = store.load(names[0]); err != nil {
		return err
	}
	s.SnapshotIndex, s.LastIndex, s.LastTerm = s.snapshot.Index, s.snapshot.Index, s.snapshot.Term
	s.configuration = s.snapshot.Configuration
	return store.verify(s.snapshot)
}

// checkFloor returns a *wal.CorruptionError where something of the node is
// missing, but for the log in the midst of a recovery, see renewLog.
func (s *Survivor) checkFloor(files wal.FS) error {
	least, found, err := loadFloor(files, s.Dir)
	if err != nil || !found {
		return err
	}
	if _, err := files.Stat(filepath.Join(s.Dir, newLog)); err != nil {
		if err := least.checkFiles(files, s.Dir); err != nil {
			return err
		}
	}
	return least.checkSnapshot(s.Dir, s.SnapshotIndex)
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
	before, err := survey(files, dir, func(*raft.Log) {}) // all of it is whole
	if err != nil {
		return "", err
	}
	if before.snapshot != nil {
		if err := restoreFrom(files, dir, before.snapshot, machine); err != nil {
			return "", err
		}
	}
	if _, err := survey(files, dir, func(log *raft.Log) {
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
	ident := identity{
		Name: before.Name, Incarnation: before.Incarnation, Cluster: newClusterID(), Former: append(before.Former, before.Cluster),
	}
	if err := replaceIdentity(files, dir, ident); err != nil {
		return "", err
	}
	if err := snapshotAlone(files, dir, before, ident.serverID(), machine); err != nil {
		return "", err
	}
	if err := errors.Join(removePlan(files, dir), forgetDivergence(files, dir)); err != nil {
		return "", err
	}
	return ident.Cluster, renewLog(files, dir, before.Cluster, wal.Owner{Node: string(ident.serverID()), Cluster: ident.Cluster})
}

func restoreFrom(files wal.FS, dir string, meta *raft.SnapshotMeta, machine *fsm.FSM) error {
	store := &snapshotStore{fs: files, dir: filepath.Join(dir, snapshotsDir)}
	state, err := store.open(meta)
	if err != nil {
		return fmt.Errorf("open snapshot %s: %w", meta.ID, err)
	}
	return errors.Join(machine.Restore(io.NopCloser(state)), state.Close())
}

// snapshotAlone writes a snapshot of machine at the end of the log, whose
// configuration has one voter.
func snapshotAlone(files wal.FS, dir string, s Survivor, self raft.ServerID, machine *fsm.FSM) error {
	var failed error
	store, err := openSnapshotStore(files, filepath.Join(dir, snapshotsDir), 1, slog.New(slog.DiscardHandler),
		func(uint64, uint64) {}, func(err error) { failed = errors.Join(failed, err) })
	if err != nil {
		return fmt.Errorf("open snapshots: %w", err)
	}
	alone := raft.Configuration{Servers: []raft.Server{{Suffrage: raft.Voter, ID: self, Address: raft.ServerAddress(self)}}}
	sink, err := store.Create(raft.SnapshotVersionMax, s.LastIndex, s.LastTerm, alone, s.LastIndex, nil)
	if err != nil {
		return fmt.Errorf("create snapshot: %w", err)
	}
	snapshot, err := machine.Snapshot()
	if err != nil {
		return errors.Join(err, sink.Cancel())
	}
	defer snapshot.Release()
	if err := errors.Join(snapshot.Persist(sink), failed); err != nil {
		return err
	}
	return store.newest().save(files, dir)
}

// renewLog makes an empty log, and puts it in the place of the old cluster's, all
// of which is in the snapshot, and which it renames. Between the two there is no
// log, but the new one under another name.
func renewLog(files wal.FS, dir, former string, owner wal.Owner) error {
	present, fresh := filepath.Join(dir, walDir), filepath.Join(dir, newLog)
	if err := files.RemoveAll(fresh); err != nil {
		return fmt.Errorf("make a new log: %w", err)
	}
	log, err := wal.Open(fresh, wal.Options{FS: files, Owner: owner})
	if err == nil {
		err = log.Close()
	}
	if err != nil {
		return fmt.Errorf("make a new log: %w", err)
	}
	if err := files.Rename(present, filepath.Join(dir, fmt.Sprintf(oldLogFormat, former))); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("set the old log aside: %w", err)
	}
	if err := errors.Join(files.Rename(fresh, present), files.SyncDir(dir)); err != nil {
		return fmt.Errorf("set the old log aside: %w", err)
	}
	return nil
}
