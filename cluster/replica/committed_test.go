package replica_test

import (
	"context"
	"fmt"
	"math"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/cluster"
	"github.com/kvorum/kvorum/cluster/internal/clustertest"
	"github.com/kvorum/kvorum/cluster/replica"
	"github.com/kvorum/kvorum/kv"
	"github.com/kvorum/kvorum/transport"
)

// promptly is longer than followers wait to be told what is committed, and shorter than
// raft takes for that in a bubble.
const promptly = 10 * time.Millisecond

// TestTellCommitted_Reads writes through one node and reads through the others, which
// must not wait until raft's leader has an append to make.
func TestTellCommitted_Reads(t *testing.T) {
	for name, tt := range map[string]struct {
		read  func(revision uint64) kv.ReadOptions
		later time.Duration // from the write to the reads
	}{
		"Linearizable":     {func(uint64) kv.ReadOptions { return kv.ReadOptions{} }, 0},
		"LeaderLocal":      {func(uint64) kv.ReadOptions { return kv.ReadOptions{Level: kv.LeaderLocal} }, 0},
		"StaleAtRevision":  {func(n uint64) kv.ReadOptions { return kv.ReadOptions{Level: kv.Stale, MinRevision: n} }, 0},
		"StaleLater":       {func(uint64) kv.ReadOptions { return kv.ReadOptions{Level: kv.Stale} }, promptly},
		"LinearizableLate": {func(uint64) kv.ReadOptions { return kv.ReadOptions{} }, promptly},
	} {
		for mode, unhurried := range map[string]bool{"OK": false, "WithoutMeasure": true} {
			clustertest.InBubble(t, name+mode, func(t *testing.T) {
				b := clustertest.OpenBubble(t, 3, func(cfg *cluster.Config) { cfg.Seams.Unhurried = unhurried })
				leader, one, two := b.LeaderAndOthers(t)
				waited := false
				for i := range 10 { // raft may tell in time by chance, and the last that acknowledges at once
					value := fmt.Sprint(i)
					written, err := leader.Do(t.Context(), kv.Put("k", []byte(value)))
					if err != nil {
						t.Fatal(err)
					}
					time.Sleep(tt.later)
					for _, follower := range []*clustertest.Node{one, two} {
						ctx, cancel := context.WithTimeout(t.Context(), promptly)
						got, err := follower.Get(ctx, "k", tt.read(written.Revision))
						waited = waited || err != nil || string(got.Item.Value) != value
						cancel()
					}
				}
				if waited != unhurried {
					t.Errorf("a follower's read waits, or is too old: %t, want %t", waited, unhurried)
				}
			})
		}
	}
}

// TestTellCommitted_Restarted closes a follower of an idle leader and opens it again. It
// does not know then how far the log is committed, and can't serve until it is told.
func TestTellCommitted_Restarted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var configs []cluster.Config
		b := clustertest.OpenBubble(t, 3, func(cfg *cluster.Config) {
			cfg.Seams.Unhurried, cfg.Timing.Commit = false, time.Hour
			cfg.Seams.OpenStable = clustertest.StableKept(cfg.FS)
			configs = append(configs, *cfg)
		})
		_, follower, _ := b.LeaderAndOthers(t)
		i := slices.Index(b.Nodes, follower)
		if err := follower.Close(); err != nil {
			t.Fatal(err)
		}
		cfg := configs[i]
		cfg.PeerListener = b.Listen(cfg.AdvertisePeer)
		again, err := clustertest.Try(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = again.Close() })
		began := time.Now()
		clustertest.Eventually(t, "it serves", again.Ready)
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("it serves after %v", took)
		}
	})
}

// TestTellCommitted_Uncommitted has a leader of five reach one follower only. What both
// have is not committed, and the follower must not apply it. The control tells the end of
// the log in place of the commit index.
func TestTellCommitted_Uncommitted(t *testing.T) {
	for name, committed := range map[string]func(*raft.Raft) uint64{
		"OK":             nil,
		"WithoutMeasure": func(*raft.Raft) uint64 { return math.MaxInt64 },
	} {
		clustertest.InBubble(t, name, func(t *testing.T) {
			b := clustertest.OpenBubble(t, 5, func(cfg *cluster.Config) {
				cfg.Seams.Unhurried, cfg.Seams.Committed = false, committed
			})
			leader := clustertest.Leader(t, b.Nodes)
			others := slices.DeleteFunc(slices.Clone(b.Nodes), func(n *clustertest.Node) bool { return n == leader })
			b.HoldBetween(leader, others[1:]...)
			ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond) // the lease is longer
			defer cancel()
			if _, err := leader.Do(ctx, kv.Put("k", []byte("v"))); err == nil {
				t.Fatal("a minority has committed a write")
			}
			leader.Peers().TellCommittedTo(others[0].ID())
			time.Sleep(promptly)
			got, err := others[0].Get(t.Context(), "k", kv.ReadOptions{Level: kv.Stale})
			if err != nil {
				t.Fatal(err)
			}
			if wrong := committed != nil; got.Found != wrong {
				t.Errorf("the follower has applied what is not committed: %t, want %t", got.Found, wrong)
			}
		})
	}
}

// TestTellCommitted_ToFollower sends a follower appends that tell a commit index, as
// TellCommitted makes them and as it never would. Only what a leader of the term could
// have sent moves the commit index.
func TestTellCommitted_ToFollower(t *testing.T) {
	for name, tt := range map[string]struct {
		term   uint64
		prev   point
		commit uint64
		want   uint64
	}{
		"OK":                   {3, point{4, 3}, 4, 4},
		"LessThanItsEnd":       {3, point{4, 3}, 3, 3},
		"BeyondTheEntryBefore": {3, point{3, 2}, 4, 3}, // the transport tells no more than both have
		"OldTerm":              {2, point{4, 3}, 4, 2},
		"EntryOfOtherTerm":     {3, point{4, 2}, 4, 2},
		"NoSuchEntry":          {3, point{5, 3}, 5, 2},
		"FarAway":              {3, point{math.MaxUint64, 3}, math.MaxUint64, 2},
	} {
		clustertest.InBubble(t, name, func(t *testing.T) {
			f := startReplica(t, func(*replica.Config) {}, func(*transport.Config) {})
			f.mustAppend(t, 3, point{1, 1}, append(commands(2, 3, 2), commands(4, 4, 3)...), 2)
			response, err := f.append(tt.term, tt.prev, nil, tt.commit)
			if got := f.raft.CommitIndex(); got != tt.want {
				t.Errorf("committed up to %d, want %d; answered %+v, %v", got, tt.want, response, err)
			}
			if last := f.raft.LastIndex(); last != 4 {
				t.Errorf("the log ends at %d, want 4", last)
			}
		})
	}
}
