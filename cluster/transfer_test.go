package cluster_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kvorum/kvorum/cluster"
	"github.com/kvorum/kvorum/cluster/internal/clustertest"
	"github.com/kvorum/kvorum/kv"
)

// deafTo loses, once it is told to, what tells a peer to campaign.
type deafTo struct {
	net.Conn
	lose *atomic.Bool
}

func (d deafTo) Write(b []byte) (int, error) {
	if d.lose.Load() && hasTimeoutNow(b) {
		return len(b), nil
	}
	return d.Conn.Write(b)
}

// hasTimeoutNow looks for the command in frames: length(4) type(1) id(8) kind(1).
func hasTimeoutNow(b []byte) bool {
	for len(b) > 13 {
		if b[4] == 8 && b[13] == 4 {
			return true
		}
		b = b[min(uint64(len(b)), 4+uint64(binary.BigEndian.Uint32(b))):]
	}
	return false
}

// TestNode_TransferHangs hands leadership to a node that does not answer: writes
// are held back for about a second, and no longer than the caller waits. The limit
// here is only that a transport's time for an answer, 5 s, is not waited for.
func TestNode_TransferHangs(t *testing.T) {
	t.Parallel()
	var lose atomic.Bool
	nodes := clustertest.Open(t, 3, func(c *cluster.Config) {
		c.Seams.Dial = func(ctx context.Context, addr string) (net.Conn, error) {
			var d net.Dialer
			conn, err := d.DialContext(ctx, "tcp", addr)
			if err != nil {
				return nil, err
			}
			return deafTo{conn, &lose}, nil
		}
	})
	leader := clustertest.Leader(t, nodes)
	clustertest.MustPut(t, leader, "k", "")
	lose.Store(true)
	for _, patience := range []time.Duration{time.Minute, 200 * time.Millisecond} {
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		if err := leader.TransferLeadership(ctx); !errors.Is(err, kv.ErrNoSuccessor) {
			t.Errorf("got %v, want ErrNoSuccessor", err)
		}
		cancel()
		clustertest.MustPut(t, leader, "k", "")
		if took := time.Since(began); took > 4*time.Second {
			t.Errorf("with %v to wait: the next write was done after %v", patience, took)
		}
	}
}

// TestNode_Transfer hands leadership to each node in turn, from any node, while
// somebody writes: every write is done, and none of it is lost.
func TestNode_Transfer(t *testing.T) {
	t.Parallel()
	nodes := clustertest.Open(t, 3, nil)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	stop := make(chan struct{})
	var writer sync.WaitGroup
	written := 0
	writer.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			_, err := nodes[i%3].Do(ctx, kv.Put(fmt.Sprint("k", i), nil))
			for errors.Is(err, kv.ErrUnknownOutcome) { // the same again changes nothing
				_, err = nodes[i%3].Do(ctx, kv.Put(fmt.Sprint("k", i), nil))
			}
			if err != nil {
				t.Errorf("put %d: %v", i, err)
				return
			}
			written++
		}
	})
	for i := range 12 {
		target := nodes[i%3].Config.Name
		if err := nodes[(i+1)%3].Transfer(ctx, target); err != nil {
			t.Errorf("transfer %d to %s: %v", i, target, err)
		}
		clustertest.Eventually(t, target+" leads", func() error {
			if s := nodes[i%3].Status(); s.Role != "leader" {
				return errors.New("it is a " + s.Role)
			}
			return nil
		})
		if err := nodes[i%3].Transfer(ctx, target); err != nil {
			t.Errorf("to the leader itself: %v", err)
		}
	}
	close(stop)
	writer.Wait()
	if err := nodes[0].Transfer(ctx, ""); err != nil {
		t.Errorf("to anybody: %v", err)
	}
	if err := nodes[0].Transfer(ctx, "nobody"); !errors.Is(err, kv.ErrUnknownNode) {
		t.Errorf("to an unknown node: got %v, want ErrUnknownNode", err)
	}
	view, err := nodes[1].View(ctx, kv.ReadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for range view.Ascend(kv.Prefix("k")) {
		found++
	}
	if found != written || written == 0 {
		t.Errorf("found %d keys of %d", found, written)
	}
}

// A transfer to a node that does not answer leaves the leader as it was, and
// writes continue.
func TestNode_TransferFails(t *testing.T) {
	t.Parallel()
	nodes := clustertest.Open(t, 3, nil)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	leader := clustertest.Leader(t, nodes)
	var down *clustertest.Node
	for _, n := range nodes {
		if n != leader {
			down = n
		}
	}
	if err := down.Close(); err != nil {
		t.Fatal(err)
	}
	if err := leader.Transfer(ctx, down.Config.Name); !errors.Is(err, kv.ErrNoSuccessor) {
		t.Errorf("got %v, want ErrNoSuccessor", err)
	}
	clustertest.MustPut(t, leader, "k", "")
	if clustertest.Leader(t, nodes) != leader {
		t.Error("leadership has moved")
	}
	alone := clustertest.Open(t, 1, nil)[0]
	if err := alone.Transfer(ctx, ""); !errors.Is(err, kv.ErrNoSuccessor) {
		t.Errorf("alone: got %v, want ErrNoSuccessor", err)
	}
}
