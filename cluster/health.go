package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/kv"
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
		if still, err := n.findDead(ctx, r); err != nil || still != dead || !r.Leading() {
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
			return fmt.Errorf("%w: %s is dead, but %s does not answer either", kv.ErrQuorum, dead, id)
		}
		votersLeft++
	}
	if votersLeft < len(voters) && votersLeft < minVotersLeft {
		return fmt.Errorf("%w: %s is dead, but only %d voters would be left", kv.ErrQuorum, dead, votersLeft)
	}
	return nil
}

// quorumOf returns nil when a majority of voters answers, has kept up with what is
// committed, and has room for what follows. Others take part in no commit.
func (r *replica) quorumOf(ctx context.Context, voters []raft.ServerID) error {
	committed := r.raft.CommitIndex()
	able := 0
	var words []string
	answers := r.askAll(ctx, voters)
	for _, id := range voters {
		if err := takesPart(answers[id], committed); err != nil {
			words = append(words, fmt.Sprintf("%s %v", nameOf(id), err))
			continue
		}
		able++
	}
	if need := len(voters)/2 + 1; able < need {
		return fmt.Errorf("%w: %d of %d would take part, %d are needed (%s); force it if they never come back",
			kv.ErrQuorum, able, len(voters), need, strings.Join(words, ", "))
	}
	return nil
}

// takesPart returns nil if a voter that answers so can acknowledge what a leader sends
// it now, else why not. nil is no answer.
func takesPart(info *nodeInfo, committed uint64) error {
	switch {
	case info == nil:
		return errors.New("does not answer")
	case info.AppliedIndex+maxPromoteLag < committed:
		return fmt.Errorf("has applied %d of %d", info.AppliedIndex, committed)
	case info.NoPuts():
		return errors.New("has no room for puts on its disk")
	}
	return nil
}

// whoAnswers asks all ids at once and says of each whether it answered.
func (r *replica) whoAnswers(ctx context.Context, ids []raft.ServerID) map[raft.ServerID]bool {
	answered := make(map[raft.ServerID]bool)
	for id, info := range r.askAll(ctx, ids) {
		answered[id] = info != nil
	}
	return answered
}

// askAll asks all ids at once how far they are, this node among them. One that does
// not answer has nil.
func (r *replica) askAll(ctx context.Context, ids []raft.ServerID) map[raft.ServerID]*nodeInfo {
	var mu sync.Mutex
	var calls sync.WaitGroup
	answers := make(map[raft.ServerID]*nodeInfo)
	for _, id := range ids {
		calls.Go(func() {
			var answer *nodeInfo
			if id == r.id {
				own := r.info()
				answer = &own
			} else if info, err := r.askInfo(ctx, id); err == nil {
				answer = &info
			}
			mu.Lock()
			defer mu.Unlock()
			answers[id] = answer
		})
	}
	calls.Wait()
	return answers
}
