package replica_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/cluster"
	"github.com/kvorum/kvorum/cluster/internal/clustertest"
	"github.com/kvorum/kvorum/cluster/leadership"
	"github.com/kvorum/kvorum/kv"
)

// wantSlow fails the test unless err is want, and says neither that there is no leader
// nor that the outcome is unknown.
func wantSlow(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) || errors.Is(err, kv.ErrNoLeader) || errors.Is(err, kv.ErrUnknownOutcome) {
		t.Errorf("%s: got %v, want %v", what, err, want)
	}
}

// TestGet_SlowLeader has a leader take its time before it says at which index to read.
// The read is told that no answer came in time, also when the leader itself, or the
// caller's node, gave up first. Nobody has to look for an election.
func TestGet_SlowLeader(t *testing.T) {
	const limitOfCalls = 5 * time.Second // to the leader, and of what a peer asks
	const asked = limitOfCalls * 9 / 10
	for _, limit := range []time.Duration{time.Second, asked + leadership.RetryDelay/2, limitOfCalls + asked} {
		synctest.Test(t, func(t *testing.T) {
			var slow atomic.Bool
			release := make(chan struct{})
			b := clustertest.OpenBubble(t, 3, func(cfg *cluster.Config) {
				cfg.Seams.ConfirmLeader = func(*raft.Raft) error {
					if slow.Load() {
						<-release
					}
					return nil
				}
			})
			leader, follower, _ := b.LeaderAndOthers(t)
			slow.Store(true)
			defer close(release)
			for what, n := range map[string]*clustertest.Node{"leader": leader, "follower": follower} {
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
		b := clustertest.OpenBubble(t, 3, nil)
		leader, one, two := b.LeaderAndOthers(t)
		b.Hold(one.Config.Name, leader.Config.Name)
		b.Hold(two.Config.Name, leader.Config.Name)
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		_, err := leader.Replica().Probe(ctx, leader.Raft().CurrentTerm(), 0)
		wantSlow(t, "a leader whose voters are slow", err, kv.ErrTimeout)
	})
}
