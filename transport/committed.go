package transport

import (
	"context"
	"maps"
	"time"

	"github.com/hashicorp/raft"
)

// The package comment says what is told here, and why that is safe.

// tellPause is how long nothing must have been committed before followers are told what
// is: where the log does not pause, the next append tells.
const tellPause = 2 * time.Millisecond

// carried is the greatest commit index that an append of a term, sent or under way, has
// told a peer's raft.
type carried struct{ commit, term uint64 }

// lastIndex returns the index of the last entry that a peer has if it accepts an append.
func lastIndex(args *raft.AppendEntriesRequest) uint64 {
	if n := len(args.Entries); n > 0 {
		return args.Entries[n-1].Index
	}
	return args.PrevLogEntry
}

// bound makes an append that is about to be sent say no more than is durable here. Raft has
// read its commit index before: what is durable later was written no later.
func (r *raftTransport) bound(args *raft.AppendEntriesRequest) {
	if durable := r.t.cfg.Durable; durable != nil {
		args.LeaderCommitIndex = min(args.LeaderCommitIndex, durable())
	}
}

// carry records what an append that is about to be sent tells the peer's raft.
func (f *traffic) carry(args *raft.AppendEntriesRequest) {
	c := &carried{min(args.LeaderCommitIndex, lastIndex(args)), args.Term}
	for {
		old := f.carried.Load()
		if old.covers(c) || f.carried.CompareAndSwap(old, c) {
			return
		}
	}
}

// covers reports whether nothing is left to tell of c. None covers nothing.
func (o *carried) covers(c *carried) bool {
	return o != nil && (o.term > c.term || o.term == c.term && o.commit >= c.commit)
}

// TellCommitted waits until the log pauses, and then has each peer told how far it is
// committed, if this node leads, the peer's log is known to reach so far, and no append
// has told it. It does not wait for answers. What does not reach a peer is told by raft's
// next append.
func (t *Transport) TellCommitted(ctx context.Context) {
	if !t.raft.paused(ctx) {
		return
	}
	t.mu.Lock()
	peers := maps.Clone(t.peers)
	t.mu.Unlock()
	for id, p := range peers {
		t.raft.tell(id, &p.traffic)
	}
}

// paused returns true when nothing has been committed for tellPause and nothing is on its
// way into the log, false when ctx ends.
func (r *raftTransport) paused(ctx context.Context) bool {
	for committed := r.committed(); ; {
		if !sleep(ctx, tellPause) {
			return false
		}
		now := r.committed()
		if now == committed && (r.t.cfg.Writing == nil || !r.t.cfg.Writing()) {
			return true
		}
		committed = now
	}
}

// TellCommittedTo is TellCommitted for one peer, and waits for nothing.
func (t *Transport) TellCommittedTo(id raft.ServerID) {
	t.mu.Lock()
	p := t.peers[id]
	t.mu.Unlock()
	if p != nil { // else it has acknowledged nothing
		t.raft.tell(id, &p.traffic)
	}
}

// tellSoon has a peer told in the log's next pause. The peer has just accepted an append,
// and may be a slow one, so that what it has accepted was committed before; or it has just
// been connected, and may have been restarted.
func (r *raftTransport) tellSoon(id raft.ServerID, f *traffic) {
	if r.news(f) == nil || !f.soon.CompareAndSwap(false, true) {
		return
	}
	spawned := r.t.spawn(func() {
		paused := r.paused(r.ctx)
		f.soon.Store(false)
		if paused {
			r.tell(id, f)
		}
	})
	if !spawned {
		f.soon.Store(false)
	}
}

// tell sends a peer what there is to tell, if anything.
func (r *raftTransport) tell(id raft.ServerID, f *traffic) {
	request := r.news(f)
	if request == nil {
		return
	}
	f.carry(request) // no second one is sent meanwhile
	r.t.spawn(func() {
		// Raft's own appends meet the same errors, and report them.
		_ = r.AppendEntries(id, raft.ServerAddress(id), request, new(raft.AppendEntriesResponse))
	})
}

// news returns the append that tells a peer how far the log is committed, nil if there is
// nothing to tell, or this node does not lead: then Config.Committed says 0.
func (r *raftTransport) news(f *traffic) *raft.AppendEntriesRequest {
	m, commit := f.match.Load(), r.committed()
	if m == nil || m.index == 0 || commit == 0 || r.t.cfg.CurrentTerm == nil || r.t.cfg.CurrentTerm() != m.term {
		return nil // the term is read last: see the package comment
	}
	if f.carried.Load().covers(&carried{min(commit, m.index), m.term}) {
		return nil
	}
	return &raft.AppendEntriesRequest{
		RPCHeader: r.intake.local, Term: m.term,
		PrevLogEntry: m.index, PrevLogTerm: m.entryTerm, LeaderCommitIndex: commit,
	}
}

// allCommitted returns what a message says is committed, for Config.Heard, 0 for nothing.
func (r *raftTransport) allCommitted(part *appendPart, urgent bool) uint64 {
	switch {
	case r.t.cfg.AllCommitted != nil:
		return r.t.cfg.AllCommitted()
	case urgent:
		return 0
	}
	return part.committed
}

// committed returns the commit index, 0 if it is not known.
func (r *raftTransport) committed() uint64 {
	if r.t.cfg.Committed == nil {
		return 0
	}
	return r.t.cfg.Committed()
}
