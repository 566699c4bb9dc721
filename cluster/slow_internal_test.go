package cluster

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/cluster/leadership"
	"github.com/kvorum/kvorum/kv"
	"github.com/kvorum/kvorum/transport"
)

// wantSlow fails the test unless err is want, and says neither that there is no leader
// nor that the outcome is unknown.
func wantSlow(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) || errors.Is(err, kv.ErrNoLeader) || errors.Is(err, kv.ErrUnknownOutcome) {
		t.Errorf("%s: got %v, want %v", what, err, want)
	}
}

// TestAskError is the table of what a read is told whose leader gave it no index.
func TestAskError(t *testing.T) {
	for _, tt := range []struct{ err, want error }{
		{fmt.Errorf("%w: %w", transport.ErrNotSent, errors.New("refused")), kv.ErrNoLeader},
		{fmt.Errorf("%w: %w", transport.ErrNoAnswer, context.DeadlineExceeded), kv.ErrTimeout},
		{overWire(kv.ErrTimeout), kv.ErrTimeout},
		{overWire(kv.ErrOverloaded), kv.ErrOverloaded},
		{overWire(kv.ErrNotLeader), kv.ErrNoLeader},
		{overWire(kv.ErrNoLeader), kv.ErrNoLeader},
	} {
		got := askError("n2.x", tt.err)
		if !errors.Is(got, tt.want) || (tt.want == kv.ErrNoLeader) != errors.Is(got, kv.ErrNoLeader) {
			t.Errorf("%v: got %v, want %v", tt.err, got, tt.want)
		}
	}
}

// TestCommitError is the table of what raft's errors say of a write.
func TestCommitError(t *testing.T) {
	for err, want := range map[error]error{
		raft.ErrEnqueueTimeout:               kv.ErrTimeout,
		raft.ErrNotLeader:                    kv.ErrNotLeader,
		raft.ErrLeadershipTransferInProgress: kv.ErrNotLeader,
		raft.ErrLeadershipLost:               kv.ErrUnknownOutcome,
		raft.ErrRaftShutdown:                 kv.ErrUnknownOutcome,
	} {
		if got := commitError(err); !errors.Is(got, want) || errors.Is(got, kv.ErrUnknownOutcome) != (want == kv.ErrUnknownOutcome) {
			t.Errorf("%v: got %v, want %v", err, got, want)
		}
	}
}

// TestGet_SlowLeader has a leader take its time before it says at which index to read.
// The read is told that no answer came in time, also when the leader itself, or the
// caller's node, gave up first. Nobody has to look for an election.
func TestGet_SlowLeader(t *testing.T) {
	const asked = handlerTimeout * 9 / 10
	for _, limit := range []time.Duration{time.Second, asked + leadership.RetryDelay/2, leaderCallTimeout + asked} {
		synctest.Test(t, func(t *testing.T) {
			var slow atomic.Bool
			release := make(chan struct{})
			b := openBubble(t, 3, func(cfg *Config) {
				cfg.Seams.ConfirmLeader = func(*raft.Raft) error {
					if slow.Load() {
						<-release
					}
					return nil
				}
			})
			leader, follower, _ := b.leaderAndOthers(t)
			slow.Store(true)
			defer close(release)
			for what, n := range map[string]*Node{"leader": leader, "follower": follower} {
				ctx, cancel := context.WithTimeout(t.Context(), limit)
				_, err := n.Get(ctx, "first", kv.ReadOptions{})
				cancel()
				wantSlow(t, fmt.Sprintf("%s, after %v", what, limit), err, kv.ErrTimeout)
			}
		})
	}
}

// TestProbe_Slow shows that voters that have not answered yet do not mean that there is
// no leader.
func TestProbe_Slow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := openBubble(t, 3, nil)
		leader, one, two := b.leaderAndOthers(t)
		b.hold(one.cfg.Name, leader.cfg.Name)
		b.hold(two.cfg.Name, leader.cfg.Name)
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		r := mustJoined(t, leader)
		_, err := r.probe(ctx, r.raft.CurrentTerm(), 0)
		wantSlow(t, "a leader whose voters are slow", err, kv.ErrTimeout)
	})
}
