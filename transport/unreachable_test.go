package transport_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/internal/testkit"
	"github.com/kvorum/kvorum/transport"
)

// TestUnreachable checks what raft gets for a peer that can't be reached: a typed
// error, at once when a dial of the peer has just failed, and in the log a line at
// growing intervals for as long as it lasts, and one when it is over.
func TestUnreachable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var network memNet
		var log testkit.Log
		addrs := new(book)
		dials, blackHole := 0, true
		a := startNode(t, "a", addrs, func(c *transport.Config) {
			network.ours(addrs)(c)
			c.Logger = slog.New(slog.NewTextHandler(&log, nil))
			c.Dial = func(ctx context.Context, addr string) (net.Conn, error) {
				if dials++; blackHole {
					<-ctx.Done()
					return nil, ctx.Err()
				}
				return network.dial(ctx, addr)
			}
		})
		beat := func() error {
			return a.Raft().AppendEntries("b", "b", &raft.AppendEntriesRequest{RPCHeader: header(a), Term: 1}, new(raft.AppendEntriesResponse))
		}
		var unreachable *transport.UnreachableError
		if err := beat(); !errors.As(err, &unreachable) || unreachable.Peer != "b" || !errors.Is(err, transport.ErrNotSent) {
			t.Errorf("no address: got %v, want an *UnreachableError that is ErrNotSent", err)
		}
		b := startNode(t, "b", addrs, network.ours(addrs))
		respond(t, b, func(raft.RPC) (any, error) { return &raft.AppendEntriesResponse{Success: true}, nil })

		began := time.Now()
		if err := beat(); !errors.As(err, &unreachable) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("black hole: got %v, want an *UnreachableError for the deadline", err)
		}
		if took := time.Since(began); took != 2*time.Second {
			t.Errorf("the first attempt took %v, want the dial timeout", took)
		}
		began = time.Now()
		if err := beat(); !errors.As(err, &unreachable) {
			t.Errorf("again: got %v, want an *UnreachableError", err)
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("again: it took %v", took)
		}
		for range 1000 { // as raft does, for minutes
			beat()
			time.Sleep(100 * time.Millisecond)
		}
		if dials > 1000/4 {
			t.Errorf("%d dials in 100 s", dials)
		}
		blackHole = false
		time.Sleep(time.Minute)
		if err := beat(); err != nil {
			t.Errorf("reachable again: %v", err)
		}
		synctest.Wait()
		lines := strings.Split(strings.TrimSpace(log.String()), "\n")
		last := len(lines) - 1
		if strings.Count(log.String(), "can't be reached") != last || last != 5 { // after 0, 10, 30, 70 and 150 s
			t.Errorf("log:\n%s", strings.Join(lines, "\n"))
		}
		if !strings.Contains(lines[last], "can be reached again") || !strings.Contains(lines[last], "after=") {
			t.Errorf("last line: %s", lines[last])
		}
	})
}

// TestPeers checks the figures of a peer that has nothing to do but answer pings.
func TestPeers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var network memNet
		addrs := new(book)
		a, b := startNode(t, "a", addrs, network.ours(addrs)), startNode(t, "b", addrs, network.ours(addrs))
		if got := a.Peers(); len(got) != 0 {
			t.Errorf("before any dial: %+v", got)
		}
		mustCall(t, a, "b", "hello")
		time.Sleep(10*time.Second + time.Millisecond)
		synctest.Wait()
		got := a.Peers()
		if len(got) != 1 {
			t.Fatalf("Peers = %+v, want b alone", got)
		}
		p := got[0]
		if p.ID != "b" || !p.Connected || time.Since(p.LastContact) > 2*time.Second || p.RoundTrip != 0 || p.Snapshot != nil {
			t.Errorf("got %+v", p) // the simulated network takes no time
		}
		if stats := a.Stats(); p.BytesIn == 0 || p.BytesIn > stats.BytesIn || p.BytesOut == 0 || p.BytesOut > stats.BytesOut {
			t.Errorf("got %+v, all in all %+v", p, stats)
		}
		b.Close()
		synctest.Wait()
		if p := a.Peers()[0]; p.Connected {
			t.Errorf("after b closed: %+v", p)
		}
		if got := b.Peers(); len(got) != 0 {
			t.Errorf("b never dialed, and says %+v", got)
		}
	})
}

// TestForget drops a peer: its figures, and its connections in both directions.
func TestForget(t *testing.T) {
	a, b := pair(t)
	for _, size := range []int{1, 10 << 10} { // urgent and bulk
		mustCall(t, a, "b", strings.Repeat("x", size))
		mustCall(t, b, "a", strings.Repeat("x", size))
	}
	poll(t, "both are connected", func() bool { return a.Stats().Connections == 4 })
	a.Forget("b")
	a.Forget("nobody")
	if got := a.Peers(); len(got) != 0 {
		t.Errorf("Peers = %+v after it was forgotten", got)
	}
	poll(t, "the connections close", func() bool { return a.Stats().Connections+b.Stats().Connections == 0 })
	mustCall(t, a, "b", "and again")
	if got := a.Peers(); len(got) != 1 || !got[0].Connected {
		t.Errorf("Peers = %+v after a new call", got)
	}
}

// TestPeers_RoundTrip checks that the round trip is that of the network.
func TestPeers_RoundTrip(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var network memNet
		addrs := new(book)
		a := startNode(t, "a", addrs, func(c *transport.Config) {
			network.ours(addrs)(c)
			c.Dial = func(ctx context.Context, addr string) (net.Conn, error) {
				conn, err := network.dial(ctx, addr)
				return slowConn{conn}, err
			}
		})
		startNode(t, "b", addrs, network.ours(addrs))
		mustCall(t, a, "b", "hello")
		time.Sleep(5 * time.Second)
		if got, want := a.Peers()[0].RoundTrip, 30*time.Millisecond; got != want {
			t.Errorf("RoundTrip = %v, want %v", got, want)
		}
	})
}

// slowConn takes 30 ms for each write.
type slowConn struct{ net.Conn }

func (c slowConn) Write(p []byte) (int, error) {
	time.Sleep(30 * time.Millisecond)
	return c.Conn.Write(p)
}

// TestUnreachable_ManyAddresses checks that a peer whose address changes all the
// time is dialed at few of them at a time, with a connection to it and without.
func TestUnreachable_ManyAddresses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var network memNet
		addrs := new(book)
		var dialing, most atomic.Int64
		a := startNode(t, "a", addrs, func(c *transport.Config) {
			network.ours(addrs)(c)
			c.Dial = func(ctx context.Context, addr string) (net.Conn, error) {
				if addr == "b" {
					return network.dial(ctx, addr)
				}
				most.Store(max(most.Load(), dialing.Add(1)))
				defer dialing.Add(-1)
				<-ctx.Done() // nobody is there, and nothing says so
				return nil, ctx.Err()
			}
		})
		b := startNode(t, "b", addrs, network.ours(addrs))
		mustCall(t, a, "b", "hello")
		for i := range 500 {
			addrs.set("b", fmt.Sprint("lie:", i))
			mustCall(t, a, "b", "over the connection that stands")
			time.Sleep(5 * time.Millisecond)
		}
		b.Close()
		synctest.Wait()
		for i := range 500 {
			addrs.set("b", fmt.Sprint("lie:", i))
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
			a.Call(ctx, "b", kindEcho, nil)
			cancel()
		}
		if got := most.Load(); got > 4 {
			t.Errorf("%d dials at a time", got)
		}
	})
}
