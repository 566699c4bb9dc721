package cluster

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/fsm"
	"github.com/kvorum/kvorum/kv"
)

const (
	// commandVersion is the highest version of a command in the log that this build understands.
	commandVersion = fsm.Version
	// leastVersion is the command version that every build understands.
	leastVersion = 1
)

// announcedVersion is the highest version of a command that this node announces to
// understand: what its build does, or less where the configuration says so.
func (c Config) announcedVersion() uint8 {
	return cmp.Or(uint8(c.MaxCommandVersion), commandVersion)
}

// announcedBy returns the highest version of a command that a node has announced to
// understand, 0 where it has announced none, and whether it has said so itself.
func (n *Node) announcedBy(id raft.ServerID) (version uint8, firsthand bool) {
	if id == n.id() {
		return n.cfg.announcedVersion(), true
	}
	return n.book.CommandVersion(string(id))
}

// versions decides which commands this node, as the leader, may write to the log: those
// that every member of the newest configuration, voter or not, understands.
//
// Invariant: where an entry of a version stands behind a configuration in the log, this
// leader knew from each member of that configuration that it understands that version.
//
//   - A member counts with what it said in its last handshake with this node, which the
//     address book keeps: also while it is down. One that never said anything counts with
//     the least version. Gossip does not count.
//   - A node that is to be added counts from before its entry in the log, and the batch
//     under way ends before that entry is written; see replica.addNonvoter.
//   - In a new term, the members are asked first: one of them may have come back with an
//     older build, and have shaken hands with the previous leader alone. Until all have
//     answered, or an election timeout has passed, newer commands wait.
//
// A member that was told to be upgraded, and is set back to an older build without
// notice, may so meet what it does not understand. Then it stops, and says so.
//
// It is safe for concurrent use.
type versions struct {
	build     uint8                // the highest version that this build understands
	members   func() []raft.Server // the newest configuration, committed or not
	announced func(raft.ServerID) (version uint8, firsthand bool)
	now       atomic.Pointer[writable]

	mu      sync.Mutex
	joining map[raft.ServerID]uint8 // guarded by mu; nodes that are being added
	asking  uint64                  // guarded by mu; the term whose leader asks the members; 0 for none
}

// writable is what a leader may write. It does not change.
type writable struct {
	version uint8           // the highest that all members understand
	behind  []memberVersion // the members that understand less than this build, by name
	asking  bool            // the members are being asked
}

// memberVersion is what a member understands; 0 is that it has announced nothing yet.
type memberVersion struct {
	name    string
	version uint8
}

// String returns it in words.
func (m memberVersion) String() string {
	if m.version == 0 {
		return m.name + " has announced none yet"
	}
	return fmt.Sprintf("%s announces %d", m.name, m.version)
}

func newVersions(build uint8, members func() []raft.Server, announced func(raft.ServerID) (uint8, bool)) *versions {
	v := &versions{build: build, members: members, announced: announced, joining: make(map[raft.ServerID]uint8)}
	v.now.Store(&writable{version: leastVersion, asking: true})
	return v
}

// allows returns nil if commands of a version may be written now. Otherwise it is a
// kv.ErrTimeout while that is not known yet, and then a kv.ErrUnsupported that names the
// members which don't understand them.
func (v *versions) allows(version uint8) error {
	if version <= leastVersion {
		return nil
	}
	now := v.now.Load()
	switch {
	case now.asking:
		return fmt.Errorf("%w: the members are being asked which commands they understand", kv.ErrTimeout)
	case version <= now.version:
		return nil
	}
	var words []string
	for _, m := range now.behind {
		if m.version < version {
			words = append(words, m.String())
		}
	}
	return fmt.Errorf("%w: it needs command version %d, and %s", kv.ErrUnsupported, version, strings.Join(words, ", "))
}

// begin has newer commands wait until the members have been asked in this term.
func (v *versions) begin(term uint64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.asking = term
	v.updateLocked()
}

// asked ends the wait that began in this term, and returns what may be written.
func (v *versions) asked(term uint64) *writable {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.asking == term {
		v.asking = 0
	}
	return v.updateLocked()
}

// update looks at the configuration, and at what the members have announced, again. It
// is called whenever one of them has changed.
func (v *versions) update() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.updateLocked()
}

// join counts a node as a member until done is called, when the configuration has it or
// never will.
func (v *versions) join(id raft.ServerID, version uint8) (done func()) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.joining[id] = version
	v.updateLocked()
	return func() {
		v.mu.Lock()
		defer v.mu.Unlock()
		delete(v.joining, id)
		v.updateLocked()
	}
}

func (v *versions) updateLocked() *writable {
	now := &writable{version: v.build, asking: v.asking != 0}
	count := func(id raft.ServerID, version uint8) {
		now.version = min(now.version, max(version, leastVersion))
		if version < v.build {
			now.behind = append(now.behind, memberVersion{nameOf(id), version})
		}
	}
	for _, s := range v.members() {
		version, firsthand := v.announced(s.ID)
		if !firsthand {
			version = 0
		}
		count(s.ID, version)
	}
	for id, version := range v.joining {
		count(id, version)
	}
	slices.SortFunc(now.behind, func(a, b memberVersion) int {
		return cmp.Or(strings.Compare(a.name, b.name), cmp.Compare(a.version, b.version))
	})
	now.behind = slices.Compact(now.behind)
	v.now.Store(now)
	return now
}

// askVersions asks every member how far it is, at the beginning of a term: whoever
// answers has shaken hands with this node. A member that does not answer within an
// election timeout counts with what it announced last.
func (r *replica) askVersions(ctx context.Context, term uint64) {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.Timing.Election)
	defer cancel()
	_ = concurrently(r.servers(), func(s raft.Server) error { // who does not answer is no error
		if s.ID == r.id {
			return nil
		}
		_, err := r.askInfo(ctx, s.ID)
		return err
	})
	if now := r.versions.asked(term); now.version < commandVersion {
		r.log.Info("commands of this build are held back", "understands", commandVersion, "writes", now.version, "by", now.behind)
	}
}

// checkVersion refuses a node that is to be added if it does not understand what the log
// may hold.
func (r *replica) checkVersion(id raft.ServerID, version uint8) error {
	if needs := r.needs(); max(version, leastVersion) < needs {
		return fmt.Errorf("%w: %s announces command version %d, and the cluster has written version %d: start it with a newer build",
			kv.ErrTooOld, nameOf(id), version, needs)
	}
	return nil
}

// needs returns the highest command version that a new member must understand.
func (r *replica) needs() uint8 { return max(leastVersion, r.fsm.Written()) }
