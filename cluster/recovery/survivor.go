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

// Survivor is what the data directory of a node that does not run has of its cluster's
// history.
type Survivor struct {
	Dir                        string
	Name, Incarnation, Cluster string // of the node's identity
	// Former are the clusters that the node was recovered from, the oldest first.
	Former []string
	// LastTerm and LastIndex are those of the newest entry, or of the newest snapshot where
	// no entry follows it; 0 for neither.
	LastTerm, LastIndex uint64
	SnapshotIndex       uint64 // of the newest snapshot, 0 for none
	// Voters are the server ids of the voters in the newest configuration that snapshot or
	// log has, committed or not.
	Voters []string
}

// ServerID returns the id by which raft knows the node: its name, a dot, its incarnation.
func (s Survivor) ServerID() string {
	return string(nodeid.Identity{Name: s.Name, Incarnation: s.Incarnation}.ServerID())
}

// Compare orders survivors by what they know, first by their last term and then by their
// last index. It is negative if s knows less than other, positive if s knows more, and 0 if
// they know the same, as cmp.Compare.
func (s Survivor) Compare(other Survivor) int {
	return cmp.Or(cmp.Compare(s.LastTerm, other.LastTerm), cmp.Compare(s.LastIndex, other.LastIndex))
}

// of says whether s is or was of cluster.
func (s Survivor) of(cluster string) bool {
	return s.Cluster == cluster || slices.Contains(s.Former, cluster)
}

// SameHistory says whether there is one cluster that every one of survivors is of, or was
// recovered from. There must be at least one survivor.
func SameHistory(survivors []Survivor) bool {
	clusters := append(slices.Clone(survivors[0].Former), survivors[0].Cluster)
	return slices.ContainsFunc(clusters, func(cluster string) bool {
		return !slices.ContainsFunc(survivors, func(s Survivor) bool { return !s.of(cluster) })
	})
}

// MayLose says whether an acknowledged write may be in none of survivors: so many voters
// are missing that they could be the majority that it was durable on. There must be at
// least one survivor; those that do not vote don't count.
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

// Survey reads the data directory of a node that does not run, checks all of its newest
// snapshot and of its log, and changes nothing but dir's LOCK. It also takes a directory
// in which Recover was interrupted. Errors are those of Check, but for term and vote, of
// which it only sees whether the file is there.
func Survey(files wal.FS, dir string) (s Survivor, err error) {
	err = withLock(files, dir, dirlock.Acquire, func(ident nodeid.Identity) error {
		var err error
		s, err = survey(files, dir, ident, nil, nil)
		return err
	})
	return s, err
}

// survey is Survey of a locked directory. It has restore take the newest snapshot, if there
// is one, and visit each entry behind it; both may be nil.
func survey(files wal.FS, dir string, ident nodeid.Identity, restore func(*raft.SnapshotMeta, io.Reader) error, visit func(*raft.Log)) (Survivor, error) {
	h, err := raftstore.Read(files, dir, restore, visit)
	s := Survivor{
		Dir: dir, Name: ident.Name, Incarnation: ident.Incarnation, Cluster: ident.Cluster, Former: ident.Former,
		SnapshotIndex: h.SnapshotIndex, LastIndex: h.LastIndex, LastTerm: h.LastTerm,
	}
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
