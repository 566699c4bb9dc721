package replica

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/internal/nodeid"
	"github.com/kvorum/kvorum/kv"
	"github.com/kvorum/kvorum/transport"
)

const (
	// handoverWait is how long a leader holds writes back for its successor to get the
	// end of the log. readyWait is how long it waits before that, while it still writes, for
	// one that answers and has what was in the log at first.
	handoverWait = 500 * time.Millisecond
	readyWait    = 2 * time.Second
	// handoverPoll is the time between two questions how far another node is.
	handoverPoll = 5 * time.Millisecond
	// electionsToWait is the number of election timeouts in which a successor must be told and
	// elected; minTakeOver is the minimum of that time.
	electionsToWait = 3
	minTakeOver     = time.Second
	// defaultStuckTransferLimit is how long raft may refuse writes for a transfer of leadership.
	defaultStuckTransferLimit = 10 * time.Second
)

// Transfer hands leadership to the voter with that name, or, if name is empty, to the one that
// is ready first. It follows Ongaro's thesis, section 3.10: the leader holds writes back, waits
// until the successor has all of the log, and tells it to campaign at once. Writes are held
// back only once a successor answers and is close to the end of the log. Reads continue.
// Raft's own LeadershipTransfer is not used: after it the leader may refuse writes for ever
// (hashicorp/raft #696). Writes continue when Transfer returns, also after an error; those that
// waited were not done before.
func (r *Replica) Transfer(ctx context.Context, name string) error {
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
	case r.writing <- struct{}{}: // the batch in flight has ended
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

// successors returns the voters that may take over: all others, or the one with
// that name. It returns none if this node has that name.
func (r *Replica) successors(name string) ([]raft.ServerID, error) {
	var ids []raft.ServerID
	for _, s := range r.Servers() {
		switch {
		case s.Suffrage != raft.Voter || (name != "" && nodeid.NameOf(s.ID) != name):
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

// awaitSuccessor returns the first candidate whose log is committed up to the present end of
// this leader's log. It waits for patience. While writes are held back, the end stays the same.
func (r *Replica) awaitSuccessor(ctx context.Context, candidates []raft.ServerID, patience time.Duration) (raft.ServerID, error) {
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
	// As text alone: the class of another node's error must not become that of this one.
	return "", fmt.Errorf("%w: %s", kv.ErrNoSuccessor, errors.Join(errs...).Error())
}

// awaitCommitted returns nil once id's log is committed up to index.
func (r *Replica) awaitCommitted(ctx context.Context, id raft.ServerID, index uint64) error {
	for {
		info, err := r.AskInfo(ctx, id)
		if err == nil && info.CommitIndex >= index {
			return nil
		}
		if err == nil {
			err = fmt.Errorf("%s has %d of %d entries", nodeid.NameOf(id), info.CommitIndex, index)
		}
		select {
		case <-time.After(handoverPoll):
		case <-ctx.Done():
			return err
		}
	}
}

// takeOver tells a successor to campaign, and returns nil once another node
// leads. Writes are held back meanwhile, so its time is limited, however long
// the successor takes to answer; a lost answer does not matter.
func (r *Replica) takeOver(ctx context.Context, target raft.ServerID) error {
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
				return fmt.Errorf("%w: tell %s to take over: %w", kv.ErrNoSuccessor, nodeid.NameOf(target), err)
			}
		case <-ctx.Done():
			return fmt.Errorf("%w: %s did not take over", kv.ErrNoSuccessor, nodeid.NameOf(target))
		}
	}
}

// stuckTransfer finds a raft instance that refuses writes because of a
// transfer that never ends (hashicorp/raft #696). Nothing here begins such a transfer:
// this is a second line of defense.
type stuckTransfer struct {
	mu    sync.Mutex
	since time.Time // guarded by mu; zero while writes are taken
}

// observe takes in the outcome of each write. It returns how long writes have been
// refused because of a transfer.
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
