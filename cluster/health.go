package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/cluster/replica"
	"github.com/kvorum/kvorum/kv"
)

const (
	// promoteStable is how long a member must have kept up before it becomes a voter.
	promoteStable = 500 * time.Millisecond
	// minVotersLeft is the minimum number of voters that the removal of dead members leaves.
	minVotersLeft = 3
)

// health is a leader's observations of the members. It is safe for concurrent use.
type health struct {
	mu      sync.Mutex                  // guards the fields below
	term    uint64                      // of the observations
	keepsUp map[raft.ServerID]time.Time // the time since which a member has kept up
	silent  map[raft.ServerID]time.Time // the time since which a member has not answered
}

func newHealth() *health {
	return &health{keepsUp: make(map[raft.ServerID]time.Time), silent: make(map[raft.ServerID]time.Time)}
}

// begin forgets the observations of an earlier term: between two terms there were none.
func (h *health) begin(term uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.term != term {
		h.term = term
		clear(h.keepsUp)
		clear(h.silent)
	}
}

// lost notes that a member does not answer.
func (h *health) lost(id raft.ServerID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.keepsUp, id)
}

// stable returns nil if id has kept up with the commit index for a while.
func (h *health) stable(id raft.ServerID, info replica.Info, committed uint64, now time.Time) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !info.KeepsUp(committed) {
		delete(h.keepsUp, id)
		return fmt.Errorf("%w: %s has applied %d of %d", kv.ErrBehind, id, info.AppliedIndex, committed)
	}
	since, ok := h.keepsUp[id]
	if !ok {
		since = now
		h.keepsUp[id] = now
	}
	if now.Sub(since) < promoteStable {
		return fmt.Errorf("%w: %s has only just caught up", kv.ErrBehind, id)
	}
	return nil
}

// observe takes in which members have answered in one round. It returns the members that
// have been silent for at least limit.
func (h *health) observe(answered map[raft.ServerID]bool, limit time.Duration, now time.Time) (dead []raft.ServerID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for id := range h.silent {
		if _, member := answered[id]; !member {
			delete(h.silent, id)
		}
	}
	for id, ok := range answered {
		if ok {
			delete(h.silent, id)
			continue
		}
		since, known := h.silent[id]
		if !known {
			h.silent[id] = now
		} else if now.Sub(since) >= limit {
			dead = append(dead, id)
		}
	}
	return dead
}

// removeDead removes one member that has been silent for too long, if all others
// answer and enough voters are left.
func (n *Node) removeDead(ctx context.Context, r *replica.Replica) error {
	if n.cfg.DeadServerAfter == 0 {
		return nil
	}
	dead, err := n.findDead(ctx, r)
	if err != nil || dead == "" {
		return err
	}
	return n.exclusively(ctx, func() error {
		// Other changes may have been made while this one waited.
		if still, err := n.findDead(ctx, r); err != nil || still != dead || !r.Leading() {
			return err
		}
		n.log.Warn("removing a dead member", "member", dead, "silent for", n.cfg.DeadServerAfter)
		return r.Retire(ctx, dead)
	})
}

// findDead returns a member that has been silent for too long and may be removed, empty if there
// is none. The error says why silent members must stay.
func (n *Node) findDead(ctx context.Context, r *replica.Replica) (raft.ServerID, error) {
	var ids, voters []raft.ServerID
	for _, s := range r.Servers() {
		ids = append(ids, s.ID)
		if s.Suffrage == raft.Voter {
			voters = append(voters, s.ID)
		}
	}
	answered := r.WhoAnswers(ctx, ids)
	all := n.health.observe(answered, n.cfg.DeadServerAfter, time.Now())
	slices.Sort(all) // the same one each time
	var errs []error
	for _, dead := range all {
		err := mayRemove(dead, voters, answered)
		if err == nil {
			return dead, nil
		}
		errs = append(errs, err)
	}
	return "", errors.Join(errs...)
}

// mayRemove returns nil if a dead member may be removed without an operator: all other voters
// answer, and enough are left.
func mayRemove(dead raft.ServerID, voters []raft.ServerID, answered map[raft.ServerID]bool) error {
	votersLeft := 0
	for _, id := range voters {
		if id == dead {
			continue
		}
		if !answered[id] {
			return fmt.Errorf("%w: %s is dead, but %s does not answer either", kv.ErrQuorum, dead, id)
		}
		votersLeft++
	}
	if votersLeft < len(voters) && votersLeft < minVotersLeft {
		return fmt.Errorf("%w: %s is dead, but only %d voters would be left", kv.ErrQuorum, dead, votersLeft)
	}
	return nil
}
