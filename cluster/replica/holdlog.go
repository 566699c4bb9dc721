package replica

import (
	"time"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/transport"
)

// A member that gets a snapshot needs the entries that the leader's log has got meanwhile, and
// while it gets these, the next ones. On a link that is a little faster than the writes they
// are more than a snapshot leaves in the log: without them the member would need snapshot after
// snapshot. So the leader keeps what such a member needs next, as long as its disk has room.
const (
	// heldSnapshots is the maximum of the log that is kept for a member, as a multiple of the
	// newest snapshot's size, or of the bytes of log between two snapshots if these are more. A
	// member that lacks more gets a snapshot sooner than the log.
	heldSnapshots = 4
	// heldFor is the time since its last message after which nothing is kept for a member.
	heldFor = 10 * time.Second
)

// overlong reports whether the log has more than a trim leaves and a snapshot needs, because
// less is held for members than before.
func (r *Replica) overlong() bool {
	trailing := r.trailing(false)
	return r.logs.BytesFrom(r.logs.Begins()) > trailing+r.snapshotInterval() && r.logs.Excess(trailing) > 0
}

// holdFrom returns the index of the first entry that a leader keeps for a member, 0 for none.
// A leader whose disk will be full soon keeps none. Each trim asks for it, those of raft's after
// a snapshot too: a member may have begun to catch up while that was taken.
func (r *Replica) holdFrom() (from uint64) {
	if f := r.disk.Facts(); !r.Leading() || r.disk.Low() || f != nil && f.Short(r.snapshotInterval()) {
		return 0
	}
	newest, _ := r.snaps.Sizes()
	most, begins, term := heldSnapshots*max(newest, r.cfg.SnapshotBytes), r.logs.Begins(), r.raft.CurrentTerm()
	peers := make(map[raft.ServerID]transport.PeerStats)
	for _, p := range r.peers.Peers() {
		peers[p.ID] = p
	}
	for _, s := range r.Servers() {
		p, known := peers[s.ID]
		if !known || time.Since(p.LastContact) > heldFor {
			continue
		}
		last := endOf(p, term)
		if last >= begins && (from == 0 || last < from) && r.logs.BytesFrom(last) <= most {
			from = last
		}
	}
	return from
}

// endOf returns the index of the newest entry that a member is known to have, or will have once
// it has the snapshot that is being sent; 0 if nothing is known in this term. Raft sends the next
// entry together with the term of this one.
func endOf(p transport.PeerStats, term uint64) (index uint64) {
	if p.MatchTerm == term {
		index = p.Match
	}
	if p.InstalledTerm == term {
		index = max(index, p.Installed)
	}
	if p.Snapshot != nil {
		index = max(index, p.Snapshot.Index)
	}
	return index
}
