package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

const (
	// maxPromoteLag is how many entries a node may be behind when it becomes a voter.
	maxPromoteLag = 128
	// promoteStable is how long it must have kept up before.
	promoteStable = 500 * time.Millisecond
	// minVotersLeft is how many voters the removal of dead members leaves at least.
	minVotersLeft = 3
)

// health is what a leader has seen of the members. It is safe for concurrent use.
type health struct {
	mu      sync.Mutex                  // guards the fields below
	term    uint64                      // that the rest was seen in
	keepsUp map[raft.ServerID]time.Time // since when a member has kept up
	silent  map[raft.ServerID]time.Time // since when a member has not answered
}

func newHealth() *health {
	return &health{keepsUp: make(map[raft.ServerID]time.Time), silent: make(map[raft.ServerID]time.Time)}
}

// begin forgets what an earlier leadership saw: it says nothing of the time in between.
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

// stable returns nil when id has kept up with what is committed for a while.
func (h *health) stable(id raft.ServerID, info nodeInfo, committed uint64, now time.Time) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if info.AppliedIndex+maxPromoteLag < committed {
		delete(h.keepsUp, id)
		return fmt.Errorf("%w: %s has applied %d of %d", ErrBehind, id, info.AppliedIndex, committed)
	}
	since, ok := h.keepsUp[id]
	if !ok {
		since = now
		h.keepsUp[id] = now
	}
	if now.Sub(since) < promoteStable {
		return fmt.Errorf("%w: %s has only just caught up", ErrBehind, id)
	}
	return nil
}

// observe takes in which members have answered in one round, and returns those that
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
func (n *Node) removeDead(ctx context.Context, r *replica) error {
	if n.cfg.DeadServerAfter == 0 {
		return nil
	}
	dead, err := n.findDead(ctx, r)
	if err != nil || dead == "" {
		return err
	}
	return n.exclusively(ctx, func() error {
		// Other changes may have been made while this one waited.
		if still, err := n.findDead(ctx, r); err != nil || still != dead || !r.leading() {
			return err
		}
		r.log.Warn("removing a dead member", "member", dead, "silent for", n.cfg.DeadServerAfter)
		return r.retire(ctx, dead)
	})
}

// findDead returns a member that has been silent for too long, empty if there is
// none, or why it must stay.
func (n *Node) findDead(ctx context.Context, r *replica) (raft.ServerID, error) {
	var ids, voters []raft.ServerID
	for _, s := range r.servers() {
		ids = append(ids, s.ID)
		if s.Suffrage == raft.Voter {
			voters = append(voters, s.ID)
		}
	}
	answered := r.whoAnswers(ctx, ids)
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

// mayRemove returns nil if a dead member may be removed by itself: all other voters
// answer, and enough are left.
func mayRemove(dead raft.ServerID, voters []raft.ServerID, answered map[raft.ServerID]bool) error {
	votersLeft := 0
	for _, id := range voters {
		if id == dead {
			continue
		}
		if !answered[id] {
			return fmt.Errorf("%w: %s is dead, but %s does not answer either", ErrQuorum, dead, id)
		}
		votersLeft++
	}
	if votersLeft < len(voters) && votersLeft < minVotersLeft {
		return fmt.Errorf("%w: %s is dead, but only %d voters would be left", ErrQuorum, dead, votersLeft)
	}
	return nil
}

// quorumOf returns nil when a majority of voters answers.
func (r *replica) quorumOf(ctx context.Context, voters []raft.ServerID) error {
	alive := 0
	for _, ok := range r.whoAnswers(ctx, voters) {
		if ok {
			alive++
		}
	}
	if need := len(voters)/2 + 1; alive < need {
		return fmt.Errorf("%w: %d of %d answer, %d are needed; force it if they never come back", ErrQuorum, alive, len(voters), need)
	}
	return nil
}

// whoAnswers asks all ids at once and says of each whether it answered.
func (r *replica) whoAnswers(ctx context.Context, ids []raft.ServerID) map[raft.ServerID]bool {
	var mu sync.Mutex
	var calls sync.WaitGroup
	answered := make(map[raft.ServerID]bool)
	for _, id := range ids {
		calls.Go(func() {
			ok := id == r.id
			if !ok {
				_, err := r.askInfo(ctx, id)
				ok = err == nil
			}
			mu.Lock()
			defer mu.Unlock()
			answered[id] = ok
		})
	}
	calls.Wait()
	return answered
}
