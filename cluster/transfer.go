package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/kv"
	"github.com/kvorum/kvorum/transport"
)

const (
	// handoverWait bounds how long a leader holds writes back for its successor to
	// have all of the log; readyWait how long it waits before that, without holding
	// them back, for one that answers and has what was in the log at first.
	handoverWait = 500 * time.Millisecond
	readyWait    = 2 * time.Second
	// handoverPoll is how often it asks how far the others are.
	handoverPoll = 5 * time.Millisecond
	// electionsToWait is how many election timeouts a successor gets to be told and
	// elected; minTakeOver is what it gets at least.
	electionsToWait = 3
	minTakeOver     = time.Second
)

// transferRequest asks the leader to hand leadership to the member of that
// name; to the most advanced voter where it is empty.
type transferRequest struct {
	ID string `json:"id"`
}

// Transfer hands leadership to the voter of that name, or to the one that is
// ready first where name is empty. Any node may be asked. It returns
// ErrUnknownNode, ErrNoSuccessor, or an error of not reaching the leader. To the
// present leader it changes nothing.
func (n *Node) Transfer(ctx context.Context, name string) error {
	_, err := n.onLeader(ctx, kindTransfer, transferRequest{ID: name})
	return err
}

// TransferLeadership hands leadership to another voter if this node leads. It
// returns nil where it does not lead.
func (n *Node) TransferLeadership(ctx context.Context) error {
	r, err := n.joined()
	if err != nil || r.raft.State() != raft.Leader {
		return nil
	}
	return n.exclusively(ctx, func() error { return r.transfer(ctx, "") })
}

// handleTransfer carries out a transfer on the leader.
func (n *Node) handleTransfer(ctx context.Context, r *replica, payload []byte) error {
	var request transferRequest
	if err := json.Unmarshal(payload, &request); err != nil {
		return &kv.ValidationError{Field: "id", Reason: "transfer request is malformed"}
	}
	return n.exclusively(ctx, func() error { return r.transfer(ctx, request.ID) })
}

// transfer hands leadership over in the way of Ongaro's thesis, section 3.10:
// hold writes back, wait until a successor has all of the log, and tell it to
// campaign at once. Writes are not held back before a successor answers and is
// close to the end of the log. Reads go on. Raft's own LeadershipTransfer is not used: it can
// leave the leader refusing writes for ever (hashicorp/raft #696). Whatever the
// outcome, writes go on when it returns; those that waited were not done before.
func (r *replica) transfer(ctx context.Context, name string) error {
	if !r.Leading() {
		return kv.ErrNotLeader
	}
	candidates, err := r.successors(name)
	if err != nil || len(candidates) == 0 {
		return err
	}
	if _, err := r.awaitSuccessor(ctx, candidates, readyWait); err != nil {
		return err
	}
	select {
	case r.writing <- struct{}{}: // the batch under way has ended
		defer func() { <-r.writing }()
	case <-ctx.Done():
		return fmt.Errorf("%w: a write is still under way", kv.ErrNoSuccessor)
	}
	target, err := r.awaitSuccessor(ctx, candidates, handoverWait)
	if err != nil {
		return err
	}
	return r.takeOver(ctx, target)
}

// successors returns the voters that may take over: all others, or the one of
// that name. There is none if this node is the one.
func (r *replica) successors(name string) ([]raft.ServerID, error) {
	var ids []raft.ServerID
	for _, s := range r.servers() {
		switch {
		case s.Suffrage != raft.Voter || (name != "" && nameOf(s.ID) != name):
		case s.ID != r.id:
			ids = append(ids, s.ID)
		case name != "":
			return nil, nil
		}
	}
	switch {
	case len(ids) == 0 && name != "":
		return nil, fmt.Errorf("%w that votes: %q", kv.ErrUnknownNode, name)
	case len(ids) == 0:
		return nil, fmt.Errorf("%w: there is no other voter", kv.ErrNoSuccessor)
	}
	return ids, nil
}

// awaitSuccessor returns the first candidate whose log is committed up to what is
// the end of this leader's now, for as long as patience. It is the end then, too,
// where writes are held back.
func (r *replica) awaitSuccessor(ctx context.Context, candidates []raft.ServerID, patience time.Duration) (raft.ServerID, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	var asking sync.WaitGroup
	defer asking.Wait()
	defer cancel()
	last := r.raft.LastIndex()
	ready, failed := make(chan raft.ServerID), make(chan error, len(candidates))
	for _, id := range candidates {
		asking.Go(func() {
			if err := r.awaitCommitted(ctx, id, last); err != nil {
				failed <- err
				return
			}
			select {
			case ready <- id:
			case <-ctx.Done():
			}
		})
	}
	var errs []error
	for range candidates {
		select {
		case id := <-ready:
			return id, nil
		case err := <-failed:
			errs = append(errs, err)
		}
	}
	// Why they did not answer is no reason of this node's: not to be taken for one.
	return "", fmt.Errorf("%w: %s", kv.ErrNoSuccessor, errors.Join(errs...).Error())
}

// awaitCommitted returns nil once id's log is committed up to index.
func (r *replica) awaitCommitted(ctx context.Context, id raft.ServerID, index uint64) error {
	for {
		info, err := r.askInfo(ctx, id)
		if err == nil && info.CommitIndex >= index {
			return nil
		}
		if err == nil {
			err = fmt.Errorf("%s has %d of %d entries", nameOf(id), info.CommitIndex, index)
		}
		select {
		case <-time.After(handoverPoll):
		case <-ctx.Done():
			return err
		}
	}
}

// takeOver tells a successor to campaign, and returns nil once another node
// leads. Writes are held back meanwhile, so it takes a bounded time however long
// the successor takes to answer; an answer that is lost does not matter.
func (r *replica) takeOver(ctx context.Context, target raft.ServerID) error {
	ctx, cancel := context.WithTimeout(ctx, max(minTakeOver, electionsToWait*r.cfg.Timing.Election))
	told := make(chan error, 1)
	var telling sync.WaitGroup
	defer telling.Wait()
	defer cancel()
	telling.Go(func() { told <- r.peers.TimeoutNow(ctx, target) })
	for {
		state, changed := r.leaders.Current()
		if state.Leader != "" && state.Leader != r.id {
			r.log.Info("leadership handed over", "from", r.id, "to", state.Leader)
			return nil
		}
		select {
		case <-changed:
		case err := <-told:
			var refused *transport.RemoteError
			if errors.Is(err, transport.ErrNotSent) || errors.As(err, &refused) {
				return fmt.Errorf("%w: tell %s to take over: %w", kv.ErrNoSuccessor, nameOf(target), err)
			}
		case <-ctx.Done():
			return fmt.Errorf("%w: %s did not take over", kv.ErrNoSuccessor, nameOf(target))
		}
	}
}

// stuckTransfer notices a raft instance that refuses writes because of a
// transfer that never ends (hashicorp/raft #696). Nobody here begins one, so
// that this is a fence and not a remedy.
type stuckTransfer struct {
	mu    sync.Mutex
	since time.Time // guarded by mu; zero while writes are taken
}

// observe is told the outcome of each write and returns how long they have been
// refused for a transfer.
func (s *stuckTransfer) observe(err error, now time.Time) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !errors.Is(err, raft.ErrLeadershipTransferInProgress) {
		s.since = time.Time{}
		return 0
	}
	if s.since.IsZero() {
		s.since = now
	}
	return now.Sub(s.since)
}
