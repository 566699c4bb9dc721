package recovery

import (
	"cmp"
	"io"
	"slices"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/cluster/raftstore"
	"github.com/kvorum/kvorum/internal/dirlock"
	"github.com/kvorum/kvorum/internal/nodeid"
	"github.com/kvorum/kvorum/wal"
)

// Survivor describes the data directory of a node that does not run: its identity, and the
// part of its cluster's history that it has.
type Survivor struct {
	Dir                        string
	Name, Incarnation, Cluster string // of the node's identity
	// Former are the ids of the clusters from which the node was recovered, the oldest first.
	Former []string
	// LastTerm and LastIndex are those of the newest entry, or of the newest snapshot if
	// no entry follows it. They are 0 if there is neither.
	LastTerm, LastIndex uint64
	SnapshotIndex       uint64 // of the newest snapshot, 0 for none
	// Voters are the server ids of the voters in the newest configuration in snapshot or
	// log, committed or not.
	Voters []string
	// PreviousVoters are those of the previous configuration if the newest is in the log
	// behind the snapshot, and otherwise nil. They are in force if another leader has
	// overruled the newest configuration.
	PreviousVoters []string
	// LostTail means that the node's log has lost its end (see Note.LostTail): the node may
	// have acknowledged entries that it no longer has.
	LostTail bool
	// Interrupted means that a Recover of the directory is unfinished. Then Voters may be
	// only the node itself, and LostTail may be false although the log has lost its end.
	Interrupted bool
}

// ServerID returns the node's id in raft: its name, a dot, and its incarnation.
func (s Survivor) ServerID() string {
	return string(nodeid.Identity{Name: s.Name, Incarnation: s.Incarnation}.ServerID())
}

// Compare orders survivors by the end of their logs, first by the last term and then by the
// last index. Like cmp.Compare it is negative if s is less complete than other, positive if s
// is more complete, and 0 if they are equal.
func (s Survivor) Compare(other Survivor) int {
	return cmp.Or(cmp.Compare(s.LastTerm, other.LastTerm), cmp.Compare(s.LastIndex, other.LastIndex))
}

// of reports whether s belongs or belonged to cluster.
func (s Survivor) of(cluster string) bool {
	return s.Cluster == cluster || slices.Contains(s.Former, cluster)
}

// SameHistory reports whether there is one cluster to which every survivor belongs, or from
// which it was recovered. There must be at least one survivor.
func SameHistory(survivors []Survivor) bool {
	clusters := append(slices.Clone(survivors[0].Former), survivors[0].Cluster)
	return slices.ContainsFunc(clusters, func(cluster string) bool {
		return !slices.ContainsFunc(survivors, func(s Survivor) bool { return !s.of(cluster) })
	})
}

// MayLose reports whether an acknowledged write may be missing in all survivors. It is so if
// the missing voters could be the majority on which the write was durable. The voters are
// those of the newest configuration, or of the previous one, which may be in force. A
// survivor counts as missing if its log has lost its end, or if a Recover of it is
// unfinished. A survivor without a vote does not count. There must be at least one survivor.
// MayLose is true if no voters are known.
func MayLose(survivors []Survivor) bool {
	best := slices.MaxFunc(survivors, Survivor.Compare)
	if len(best.Voters) == 0 {
		return true
	}
	return tooFew(survivors, best.Voters) || len(best.PreviousVoters) > 0 && tooFew(survivors, best.PreviousVoters)
}

// tooFew reports whether the voters that are not among survivors could be a majority.
func tooFew(survivors []Survivor, voters []string) bool {
	present := 0
	for _, id := range voters {
		if slices.ContainsFunc(survivors, func(s Survivor) bool { return s.ServerID() == id && !s.LostTail && !s.Interrupted }) {
			present++
		}
	}
	return present < len(voters)-len(voters)/2
}

// Survey reads the data directory of a node that does not run, and checks its newest
// snapshot and its log completely. It changes only dir's LOCK. It also accepts a directory
// in which Recover was interrupted. Errors are those of Check and of ReadNote. The file of
// term and vote must exist, but Survey does not read it.
func Survey(files wal.FS, dir string) (s Survivor, err error) {
	err = withLock(files, dir, dirlock.Acquire, func(ident nodeid.Identity) error {
		var err error
		s, err = survey(files, dir, ident, nil, nil)
		return err
	})
	return s, err
}

// survey is Survey of a locked directory. It calls restore with the newest snapshot, if there
// is one, and visit with each entry behind it; both may be nil.
func survey(files wal.FS, dir string, ident nodeid.Identity, restore func(*raft.SnapshotMeta, io.Reader) error, visit func(*raft.Log)) (Survivor, error) {
	h, err := raftstore.Read(files, dir, restore, visit)
	s := Survivor{
		Dir: dir, Name: ident.Name, Incarnation: ident.Incarnation, Cluster: ident.Cluster, Former: ident.Former,
		SnapshotIndex: h.SnapshotIndex, LastIndex: h.LastIndex, LastTerm: h.LastTerm,
	}
	if err != nil {
		return s, err
	}
	s.Voters, s.PreviousVoters = votersOf(h.Configuration), votersOf(h.Previous)
	// Only Recover leaves a log of another cluster: Open refuses one.
	s.Interrupted = h.LastIndex != 0 && h.Owner.Cluster != ident.Cluster
	note, err := ReadNote(files, dir)
	s.LostTail = note.LostTail != ""
	return s, err
}

// votersOf returns the server ids of the voters of c.
func votersOf(c raft.Configuration) []string {
	var voters []string
	for _, server := range c.Servers {
		if server.Suffrage == raft.Voter {
			voters = append(voters, string(server.ID))
		}
	}
	return voters
}
