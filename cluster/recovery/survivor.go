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
	// PreviousVoters are those of the configuration before that one if the newest is in the
	// log behind the snapshot, and otherwise nil. They are the voters if another leader has
	// overruled the newest configuration.
	PreviousVoters []string
	// LostTail says that the log has lost its end, as the node was told (Note.LostTail): it
	// may have acknowledged entries that it does not have.
	LostTail bool
	// Interrupted says that a Recover of the directory is unfinished. Voters may be the node
	// alone, and LostTail false, because of that.
	Interrupted bool
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
// are missing that they could be the majority that it was durable on, by the newest
// configuration or by the one before, which may be in force. A survivor counts as missing if
// its log has lost its end, or if a Recover of it is unfinished. There must be at least one
// survivor; those that do not vote don't count. MayLose is true if no voters are known.
func MayLose(survivors []Survivor) bool {
	best := slices.MaxFunc(survivors, Survivor.Compare)
	if len(best.Voters) == 0 {
		return true
	}
	return tooFew(survivors, best.Voters) || len(best.PreviousVoters) > 0 && tooFew(survivors, best.PreviousVoters)
}

// tooFew says whether the voters that are not among survivors could be a majority.
func tooFew(survivors []Survivor, voters []string) bool {
	present := 0
	for _, id := range voters {
		if slices.ContainsFunc(survivors, func(s Survivor) bool { return s.ServerID() == id && !s.LostTail && !s.Interrupted }) {
			present++
		}
	}
	return present < len(voters)-len(voters)/2
}

// Survey reads the data directory of a node that does not run, checks all of its newest
// snapshot and of its log, and changes nothing but dir's LOCK. It also takes a directory
// in which Recover was interrupted. Errors are those of Check, but for term and vote, of
// which it only sees whether the file is there, and those of ReadNote.
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
	s.Voters, s.PreviousVoters = votersOf(h.Configuration), votersOf(h.Previous)
	// Open refuses a log of another owner, so that nothing else leaves one.
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
