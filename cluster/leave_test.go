package cluster_test

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kvorum/kvorum/cluster"
	"github.com/kvorum/kvorum/cluster/internal/clustertest"
	"github.com/kvorum/kvorum/kv"
)

// counting counts what tells a peer to campaign, and loses it while it is told to.
type counting struct {
	net.Conn
	told *atomic.Int64
	lose *atomic.Bool
}

func (c counting) Write(b []byte) (int, error) {
	if hasTimeoutNow(b) {
		c.told.Add(1)
		if c.lose.Load() {
			return len(b), nil
		}
	}
	return c.Conn.Write(b)
}

// holdsBack writes through n until it is stopped, and adds up for how long writes
// were held back: all of the time of those that took longer than a batch does.
func holdsBack(t *testing.T, n *clustertest.Node, stop <-chan struct{}) (puts int, held time.Duration) {
	for {
		select {
		case <-stop:
			return puts, held
		case <-time.After(10 * time.Millisecond):
		}
		began := time.Now()
		clustertest.MustPut(t, n, "k", "v")
		puts++
		if took := time.Since(began); took > 100*time.Millisecond {
			held += took
		}
	}
}

// TestNode_LeaveOfLeader has a leader leave whose followers hang whenever they are to
// take over: it asks again at growing intervals and not at once, so that writes go
// on for most of the time, and leaves when they hang no more.
func TestNode_LeaveOfLeader(t *testing.T) {
	for name, hangs := range map[string]time.Duration{"Always": time.Hour, "For5s": 5 * time.Second} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var told atomic.Int64
				var lose atomic.Bool
				b := clustertest.OpenBubble(t, 3, func(cfg *cluster.Config) {
					cfg.Timing.Commit = 10 * time.Millisecond
					dial := cfg.Seams.Dial
					cfg.Seams.Dial = func(ctx context.Context, addr string) (net.Conn, error) {
						conn, err := dial(ctx, addr)
						if err != nil {
							return nil, err
						}
						return counting{conn, &told, &lose}, nil
					}
				})
				leader, other, _ := b.LeaderAndOthers(t)
				lose.Store(true)
				recovery := time.AfterFunc(hangs, func() { lose.Store(false) })
				defer recovery.Stop()
				const patience = 30 * time.Second
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				stop := make(chan struct{})
				var writer sync.WaitGroup
				var puts int
				var held time.Duration
				writer.Go(func() { puts, held = holdsBack(t, other, stop) })
				began := time.Now()
				err := leader.Leave(ctx, kv.LeaveRequest{})
				took := time.Since(began)
				close(stop)
				writer.Wait()
				t.Logf("%d attempts, %d puts, held back for %v of %v: %v", told.Load(), puts, held, took, err)
				if attempts := told.Load(); attempts > 5 || puts < 100 || held > took*2/3 {
					t.Errorf("%d attempts, %d puts, held back for %v of %v", attempts, puts, held, took)
				}
				if name == "Always" {
					if !errors.Is(err, kv.ErrNoSuccessor) || errors.Is(err, kv.ErrNotLeader) {
						t.Errorf("got %v, want ErrNoSuccessor", err)
					}
					return
				}
				if err != nil {
					t.Errorf("got %v", err)
				}
				clustertest.AwaitMembers(t, other, false, clustertest.Names(clustertest.Others(b.Nodes, leader)))
			})
		})
	}
}

// TestTransfer_NoneReady shows that a transfer which finds nobody who could take over
// holds no write back.
func TestTransfer_NoneReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := clustertest.OpenBubble(t, 3, func(cfg *cluster.Config) { cfg.Timing.Commit = 10 * time.Millisecond })
		leader, one, two := b.LeaderAndOthers(t)
		b.HoldBetween(leader, one) // it does not answer
		stop := make(chan struct{})
		var writer sync.WaitGroup
		var puts int
		var held time.Duration
		writer.Go(func() { puts, held = holdsBack(t, two, stop) })
		if err := leader.Transfer(t.Context(), one.Config.Name); !errors.Is(err, kv.ErrNoSuccessor) {
			t.Errorf("got %v, want ErrNoSuccessor", err)
		}
		close(stop)
		writer.Wait()
		if puts == 0 || held != 0 {
			t.Errorf("%d puts, held back for %v", puts, held)
		}
	})
}
