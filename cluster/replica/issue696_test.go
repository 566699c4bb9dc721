package replica_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/cluster"
	"github.com/kvorum/kvorum/cluster/internal/clustertest"
	"github.com/kvorum/kvorum/fsm"
	"github.com/kvorum/kvorum/kv"
)

// stuckPair is two servers of the library, of which the first leads whenever
// there is a leader, and a third that takes what it is sent and does not answer.
type stuckPair struct {
	one, two *raft.Raft
	ends     [2]*raft.InmemTransport
	third    *raft.InmemTransport
}

func startStuckPair(t *testing.T) *stuckPair {
	t.Helper()
	p := &stuckPair{}
	_, p.third = raft.NewInmemTransportWithTimeout(raft.ServerAddress(trio[2]), time.Hour)
	var servers [2]*raft.Raft
	for i := range servers {
		config := raft.DefaultConfig()
		config.LocalID, config.Logger = trio[i], hclog.NewNullLogger()
		config.HeartbeatTimeout, config.ElectionTimeout, config.LeaderLeaseTimeout = time.Hour, time.Hour, time.Hour
		if i == 0 {
			config.HeartbeatTimeout, config.ElectionTimeout, config.LeaderLeaseTimeout = 200*time.Millisecond, 200*time.Millisecond, 200*time.Millisecond
		}
		_, p.ends[i] = raft.NewInmemTransportWithTimeout(raft.ServerAddress(trio[i]), time.Hour)
		p.ends[i].Connect(raft.ServerAddress(trio[2]), p.third)
		store, snaps := raft.NewInmemStore(), raft.NewInmemSnapshotStore()
		if err := raft.BootstrapCluster(config, store, store, snaps, p.ends[i], configuration()); err != nil {
			t.Fatal(err)
		}
		var err error
		if servers[i], err = raft.NewRaft(config, new(raft.MockFSM), store, store, snaps, p.ends[i]); err != nil {
			t.Fatal(err)
		}
	}
	p.one, p.two = servers[0], servers[1]
	p.join()
	t.Cleanup(func() {
		stop := make(chan struct{})
		defer close(stop)
		go p.refuse(stop)
		for _, server := range servers {
			_ = server.Shutdown().Error()
		}
	})
	return p
}

func (p *stuckPair) join() {
	p.ends[0].Connect(raft.ServerAddress(trio[1]), p.ends[1])
	p.ends[1].Connect(raft.ServerAddress(trio[0]), p.ends[0])
}

func (p *stuckPair) part() {
	p.ends[0].Disconnect(raft.ServerAddress(trio[1]))
	p.ends[1].Disconnect(raft.ServerAddress(trio[0]))
}

// refuse has the third server answer, so that nobody waits for it any more.
func (p *stuckPair) refuse(stop <-chan struct{}) {
	for {
		select {
		case rpc := <-p.third.Consumer():
			rpc.Respond(nil, errFault)
		case <-stop:
			return
		}
	}
}

// awaitLeader returns the term in which the first server leads, after another one.
func (p *stuckPair) awaitLeader(t *testing.T, after uint64) (term uint64) {
	t.Helper()
	clustertest.Eventually(t, "the first server leads", func() error {
		if term = p.one.CurrentTerm(); p.one.State() != raft.Leader || term <= after {
			return kv.ErrNoLeader
		}
		return nil
	})
	return term
}

func (p *stuckPair) write() error { return p.one.Apply([]byte("x"), time.Second).Error() }

// getStuck hands leadership to the third server until writes are refused for
// longer than any transfer should take. The first attempt leaves a message that
// is not read; the second, after it has ended, waits for its place.
func (p *stuckPair) getStuck(t *testing.T) {
	t.Helper()
	for range 20 { // two will do, unless it loses its lease meanwhile
		p.awaitLeader(t, 0)
		_ = p.one.LeadershipTransferToServer(trio[2], raft.ServerAddress(trio[2])).Error()
		refused := 0
		for errors.Is(p.write(), raft.ErrLeadershipTransferInProgress) {
			if refused++; refused == 50 {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	t.Fatal("a transfer always ends: issue 696 is fixed, or this is no control")
}

// TestIssue696_D9_StuckTransfer hands leadership to a server that does not answer.
// In the library's way the second attempt waits for a place in a channel that
// nobody reads any more: the leader refuses every write from then on, and so it
// does when it is elected again.
func TestIssue696_D9_StuckTransfer(t *testing.T) {
	// Not in a bubble, which can't end: what the library leaves behind waits for ever.
	t.Run("Library", func(t *testing.T) {
		t.Parallel()
		p := startStuckPair(t)
		p.getStuck(t)
		term := p.awaitLeader(t, 0)
		p.part()
		clustertest.Eventually(t, "the first server leads no more", func() error {
			if p.one.State() == raft.Leader {
				return errors.New("it leads")
			}
			return nil
		})
		p.join()
		p.awaitLeader(t, term)
		for range 3 {
			if err := p.write(); !errors.Is(err, raft.ErrLeadershipTransferInProgress) {
				t.Errorf("a write in a later term: %v: issue 696 is fixed, or this is no control", err)
			}
		}
	})
	clustertest.InBubble(t, "OK", func(t *testing.T) {
		b := clustertest.OpenBubble(t, 3, nil)
		leader, _, target := b.LeaderAndOthers(t)
		defer b.Disks[target].Hang()()
		write := func() error {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_, err := leader.Do(ctx, kv.Put("k", nil))
			return err
		}
		for range 2 {
			if err := errors.Join(write(), leader.Transfer(t.Context(), target.Config.Name)); !errors.Is(err, kv.ErrNoSuccessor) {
				t.Errorf("got %v, want ErrNoSuccessor", err)
			}
		}
		for range 60 {
			if err := write(); err != nil {
				t.Errorf("a write after the transfers: %v", err)
			}
			time.Sleep(time.Second)
		}
		if err := leader.Err(); err != nil {
			t.Errorf("the node stops: %v", err)
		}
	})
	// Should raft get stuck all the same, the node stops.
	clustertest.InBubble(t, "Fence", func(t *testing.T) {
		const limit = 2 * time.Second // shorter than an append to the target is waited for
		b := clustertest.OpenBubble(t, 3, func(cfg *cluster.Config) { cfg.Seams.StuckTransferLimit = limit })
		leader, _, target := b.LeaderAndOthers(t)
		release := b.Disks[target].Hang()
		defer func() { // not before the library's goroutine has ended, for it would never do so
			release()
			clustertest.Eventually(t, "raft takes writes again", func() error {
				return leader.Raft().Apply(clustertest.Entry(fsm.ClockRequest()), time.Second).Error()
			})
		}()
		clustertest.MustPut(t, leader, "k", "v")
		for range 2 {
			if err := leader.Raft().LeadershipTransferToServer(target.ID(), raft.ServerAddress(target.ID())).Error(); err == nil {
				t.Fatal("leadership was handed to a server that does not answer")
			}
			synctest.Wait() // the first attempt has ended
		}
		ctx, cancel := context.WithTimeout(t.Context(), limit/2)
		_, err := leader.Do(ctx, kv.Put("k", nil))
		cancel()
		if err == nil || leader.Err() != nil {
			t.Fatalf("within the limit: a write ended with %v, the node with %v", err, leader.Err())
		}
		ctx, cancel = context.WithTimeout(t.Context(), limit)
		defer cancel()
		go func() { _, _ = leader.Do(ctx, kv.Put("k", nil)) }()
		select {
		case <-leader.Fatal():
		case <-ctx.Done():
			t.Fatalf("the node continues, although raft refuses writes for over %v", limit)
		}
		if !errors.Is(leader.Err(), raft.ErrLeadershipTransferInProgress) {
			t.Errorf("the node stops for another reason: %v", leader.Err())
		}
	})
}
