package replica

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/cluster/propose"
	"github.com/kvorum/kvorum/internal/nodeid"
	"github.com/kvorum/kvorum/kv"
)

// leastVersion is the command version that every build understands.
const leastVersion = 1

// versions decides which commands this node, as the leader, may write to the log: those
// that every member of the newest configuration, voter or not, understands.
//
// Invariant: if an entry of a version follows a configuration in the log, this leader
// knew from each member of that configuration that it understands that version.
//
//   - A member counts with the version of its newest handshake with this node, which the
//     address book keeps, also while the member is down. A member without a handshake counts
//     with the lowest version. Gossip does not count.
//   - A node that is to be added counts from before its entry in the log, and the batch
//     in flight ends before that entry is written; see Replica.AddNonvoter.
//   - A removed member counts until nothing is sent to it any more.
//   - In a new term, the members are asked first: one of them may have restarted with an
//     older build, and have shaken hands with the previous leader alone. Until all have
//     answered, or an election timeout has passed, newer commands wait.
//
// A member that is set back to an older build without lowering its announced version first
// may meet a command that it does not understand. Then it stops, and says so.
//
// It is safe for concurrent use.
type versions struct {
	build     uint8                // the highest version that this build understands
	members   func() []raft.Server // the newest configuration, committed or not
	announced func(raft.ServerID) (version uint8, firsthand bool)
	now       atomic.Pointer[writable]

	mu      sync.Mutex
	joining map[raft.ServerID]uint8 // guarded by mu; nodes that are being added
	leaving map[raft.ServerID]uint8 // guarded by mu; nodes that are being removed
	asking  uint64                  // guarded by mu; the term whose leader asks the members; 0 for none
}

// writable says which commands a leader may write. It does not change.
type writable struct {
	version uint8           // the highest that all members understand
	behind  []memberVersion // the members that understand less than this build, by name
	asking  bool            // the members are being asked
}

// memberVersion is the version that a member understands; 0 if it has announced none yet.
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
	v := &versions{build: build, members: members, announced: announced, joining: make(map[raft.ServerID]uint8), leaving: make(map[raft.ServerID]uint8)}
	v.now.Store(&writable{version: leastVersion, asking: true})
	return v
}

// allows returns nil if commands of a version may be written now. Otherwise it is
// propose.ErrAsking while that is not known yet, and then a kv.ErrUnsupported that names the
// members which don't understand them.
func (v *versions) allows(version uint8) error {
	if version <= leastVersion {
		return nil
	}
	now := v.now.Load()
	switch {
	case now.asking:
		return propose.ErrAsking
	case version <= now.version:
		return nil
	}
	if version > v.build {
		return fmt.Errorf("%w: it needs command version %d, and this node understands %d", kv.ErrUnsupported, version, v.build)
	}
	var words []string
	for _, m := range now.behind {
		if m.version < version {
			words = append(words, m.String())
		}
	}
	return fmt.Errorf("%w: it needs command version %d, and %s", kv.ErrUnsupported, version, strings.Join(words, ", "))
}

// begin makes newer commands wait until the members have been asked in this term.
func (v *versions) begin(term uint64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.asking = term
	v.updateLocked()
}

// asked ends the wait that began in this term, and returns the commands that may be written.
func (v *versions) asked(term uint64) *writable {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.asking == term {
		v.asking = 0
	}
	return v.updateLocked()
}

// update looks again at the configuration and at the announced versions. It
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

// leave counts a member until forget is called, when it is a member no more: raft may send
// it entries behind its removal.
func (v *versions) leave(id raft.ServerID) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.leaving[id] = v.announcedLocked(id)
	v.updateLocked()
}

// forget is called when the connections with all nodes but members were closed.
func (v *versions) forget(member func(raft.ServerID) bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	maps.DeleteFunc(v.leaving, func(id raft.ServerID, _ uint8) bool { return !member(id) })
	v.updateLocked()
}

// announcedLocked returns the version that a node itself has announced, 0 for none.
func (v *versions) announcedLocked(id raft.ServerID) uint8 {
	if version, firsthand := v.announced(id); firsthand {
		return version
	}
	return 0
}

func (v *versions) updateLocked() *writable {
	now := &writable{version: v.build, asking: v.asking != 0}
	count := func(id raft.ServerID, version uint8) {
		now.version = min(now.version, max(version, leastVersion))
		if version < v.build {
			now.behind = append(now.behind, memberVersion{nodeid.NameOf(id), version})
		}
	}
	for _, s := range v.members() {
		count(s.ID, v.announcedLocked(s.ID))
	}
	for _, others := range []map[raft.ServerID]uint8{v.joining, v.leaving} {
		for id, version := range others {
			count(id, version)
		}
	}
	slices.SortFunc(now.behind, func(a, b memberVersion) int {
		return cmp.Or(strings.Compare(a.name, b.name), cmp.Compare(a.version, b.version))
	})
	now.behind = slices.Compact(now.behind)
	v.now.Store(now)
	return now
}

// VersionsChanged is told that a node has announced another version than before, or one for
// the first time.
func (r *Replica) VersionsChanged() { r.versions.update() }

// Disconnected is told that the connections with all nodes but members were closed.
func (r *Replica) Disconnected(member func(raft.ServerID) bool) { r.versions.forget(member) }

// askVersions asks every member how far it is, at the beginning of a term: each that
// answers has shaken hands with this node. A member that does not answer within an
// election timeout counts with its newest announcement.
func (r *Replica) askVersions(ctx context.Context, term uint64) {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.Timing.Election)
	defer cancel()
	var members []raft.ServerID
	for _, s := range r.Servers() {
		members = append(members, s.ID)
	}
	r.AskAll(ctx, members)
	if now, own := r.versions.asked(term), r.cfg.Version; now.version < own {
		r.log.Info("commands of this build are held back", "understands", own, "writes", now.version, "by", now.behind)
	}
}

// CheckVersion refuses a node that is to be added if it may be sent what it does not
// understand: an entry that is still in the log of this leader, or of a voter that may lead
// later. A voter that does not answer may have all of them. The error is a kv.ErrTooOld.
func (r *Replica) CheckVersion(ctx context.Context, id raft.ServerID, version uint8) error {
	version = max(version, leastVersion)
	from := r.logs.Begins()
	if version < r.machine.WrittenSince(0) {
		from = min(from, r.oldestOfVoters(ctx))
	}
	if needs := r.machine.WrittenSince(from); version < needs {
		return fmt.Errorf("%w: %s announces command version %d, and the cluster has written version %d: start it with a newer build, or without --max-command-version if that holds it back",
			kv.ErrTooOld, nodeid.NameOf(id), version, needs)
	}
	return nil
}

// oldestOfVoters returns the lowest index at which the log of another voter begins, 0
// if that of one is not known.
func (r *Replica) oldestOfVoters(ctx context.Context) uint64 {
	var others []raft.ServerID
	for _, s := range r.Servers() {
		if s.ID != r.id && s.Suffrage == raft.Voter {
			others = append(others, s.ID)
		}
	}
	oldest := uint64(math.MaxUint64)
	for _, info := range r.AskAll(ctx, others) {
		if info == nil {
			return 0
		}
		oldest = min(oldest, info.LogBegins)
	}
	return oldest
}
