package transport_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/transport"
)

// memory remembers who shook hands last, as package cluster does.
type memory struct {
	mu   sync.Mutex
	last map[raft.ServerID]transport.Identity
}

func (m *memory) learn(who transport.Identity) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.last == nil {
		m.last = make(map[raft.ServerID]transport.Identity)
	}
	m.last[who.ID] = who
}

func (m *memory) known(id raft.ServerID) (transport.Identity, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	who, ok := m.last[id]
	return who, ok
}

// claims is a network of nodes in simulated time that remember each other.
type claims struct {
	t   *testing.T
	net memNet
	// displaced has the message of each refusal for another process, by address.
	displaced map[string]chan string
}

// start starts a process of a generation at an address of its own.
func (c *claims) start(id string, generation uint64, addr string, b *book) *node {
	if c.displaced == nil {
		c.displaced = make(map[string]chan string)
	}
	displaced := make(chan string, 1000)
	c.displaced[addr] = displaced
	var m memory
	return startNode(c.t, id, b, func(cfg *transport.Config) {
		cfg.Listener.Close()
		cfg.Listener, cfg.Dial = c.net.listen(addr), c.net.dial
		cfg.Identity.PeerAddr, cfg.Identity.Generation = addr, generation
		cfg.Learn, cfg.Known = m.learn, m.known
		cfg.Displaced = func(refused *transport.RefusedError) { displaced <- refused.Message }
	})
}

// expectDisplaced checks which of the addresses were displaced, and by whom.
func (c *claims) expectDisplaced(want map[string]string) {
	c.t.Helper()
	synctest.Wait()
	for addr, displaced := range c.displaced {
		by := ""
		select {
		case by = <-displaced:
		default:
		}
		if (want[addr] == "") != (by == "") || !strings.Contains(by, want[addr]) {
			c.t.Errorf("%s is displaced by %q, want %q", addr, by, want[addr])
		}
	}
}

func TestClaim_OwnID(t *testing.T) {
	addrs := new(book)
	a := startNode(t, "a", addrs, nil)
	other := startNode(t, "a", addrs, func(c *transport.Config) { c.Identity.Generation = 8 })
	for name, addr := range map[string]string{"itself": a.addr, "another": other.addr} {
		_, err := a.Probe(ctxFor(t), addr)
		var refused *transport.RefusedError
		if !errors.As(err, &refused) || refused.Reason != transport.RefusedOwnID || !refused.Remote {
			t.Errorf("%s: got %v, want a refusal of the own id", name, err)
		}
	}
}

// TestClaim_Duplicate starts a second process with an id while the first lives:
// the second is refused wherever the first is known, and the first continues.
func TestClaim_Duplicate(t *testing.T) {
	for name, meet := range map[string]func(t *testing.T, a, b *node){
		"FirstHasDialed": func(t *testing.T, a, b *node) { mustCall(t, b, "a", "hello") },
		"FirstWasDialed": func(t *testing.T, a, b *node) { mustCall(t, a, "b", "hello") },
		"FirstIsOnlyKnown": func(t *testing.T, a, b *node) {
			if _, _, err := b.CallAddr(ctxFor(t), "a", kindEcho, nil); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, addrs := &claims{t: t}, new(book)
				a, first := c.start("a", 1, "a", addrs), c.start("b", 7, "b", addrs)
				meet(t, a, first)
				synctest.Wait()
				second := c.start("b", 8, "b2", addrs)
				_, err := second.Call(ctxFor(t), "a", kindEcho, nil)
				expectRefusal(t, err, transport.RefusedDuplicate, true, "alive at b")
				// And from the other side, since gossip tells the newer address.
				third := c.start("b", 9, "b3", addrs)
				_, err = a.Probe(ctxFor(t), third.addr)
				expectRefusal(t, err, transport.RefusedDuplicate, false, "alive at b")
				mustCall(t, first, "a", "still here")
				if _, err := a.Call(ctxFor(t), "b", kindEcho, nil); name == "FirstWasDialed" && err != nil {
					t.Errorf("the connection to the first: %v", err)
				}
				c.expectDisplaced(map[string]string{"b2": "at b"})
			})
		})
	}
}

// TestClaim_DuplicateOfBusy starts a second process with an id while the first is
// known by an answer that it gives at once though 64 MiB are on their way to it.
func TestClaim_DuplicateOfBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		t.Cleanup(func() { time.Sleep(time.Hour) }) // until the network is empty
		c, addrs := &claims{t: t, net: memNet{narrow: newNarrow(20*megabit, 4<<20)}}, new(book)
		a, first := c.start("a", 1, "a", addrs), c.start("b", 7, "b", addrs)
		respond(t, first, accept)
		appended := appendBy(a, 64<<20)
		time.Sleep(5 * time.Second)
		second := c.start("b", 8, "b2", addrs)
		_, err := second.Call(ctxFor(t), "a", kindEcho, nil)
		expectRefusal(t, err, transport.RefusedDuplicate, true, "alive at b")
		if err := <-appended; err != nil {
			t.Errorf("append to the first: %v", err)
		}
		c.expectDisplaced(map[string]string{"b2": "at b"})
	})
}

// TestClaim_OneStays has two processes with one id that are known in different
// places: only one of the two gives way.
func TestClaim_OneStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, addrs := &claims{t: t}, new(book)
		c.start("a", 1, "a", addrs)
		x := c.start("x", 1, "x", addrs)
		first, second := c.start("b", 7, "b", addrs), c.start("b", 8, "b2", addrs)
		mustCall(t, first, "a", "hello")
		mustCall(t, second, "x", "hello") // which has never heard of the first
		_, err := second.Call(ctxFor(t), "a", kindEcho, nil)
		expectRefusal(t, err, transport.RefusedDuplicate, true, "alive at b")
		if _, err := second.Call(ctxFor(t), "x", kindEcho, nil); err == nil {
			t.Error("the second one still speaks")
		}
		if _, err := x.Probe(ctxFor(t), "b2"); err == nil {
			t.Error("the second one still answers")
		}
		mustCall(t, first, "x", "the second one is gone")
		mustCall(t, first, "a", "and I am here")
		c.expectDisplaced(map[string]string{"b2": "at b"})
	})
}

// TestClaim_SameGeneration: even two processes that say they started at the same
// moment differ by their address.
func TestClaim_SameGeneration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, addrs := &claims{t: t}, new(book)
		c.start("a", 1, "a", addrs)
		first, second := c.start("b", 7, "b", addrs), c.start("b", 7, "b2", addrs)
		mustCall(t, first, "a", "hello")
		_, err := second.Call(ctxFor(t), "a", kindEcho, nil)
		expectRefusal(t, err, transport.RefusedDuplicate, true, "alive at b")
	})
}

// TestClaim_Successor starts a process again after the first has ended, in some
// way: it is let in, without delay unless the first ended without a word.
func TestClaim_Successor(t *testing.T) {
	for name, c := range map[string]struct {
		addr  string // of the successor
		quiet bool   // nobody is told that the first has ended
		delay time.Duration
	}{
		"Killed":              {addr: "b"},
		"KilledAndMoved":      {addr: "b2"},
		"PowerLost":           {addr: "b", quiet: true, delay: time.Second},
		"HostLostAndReplaced": {addr: "b2", quiet: true, delay: time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cl, addrs := &claims{t: t}, new(book)
				lost := make(chan struct{})
				a := cl.start("a", 1, "a", addrs)
				first := startNode(t, "b", addrs, func(cfg *transport.Config) {
					cl.net.ours(addrs)(cfg)
					dial := cfg.Dial
					cfg.Dial = func(ctx context.Context, addr string) (net.Conn, error) {
						conn, err := dial(ctx, addr)
						return &losable{Conn: conn, lost: lost}, err
					}
				})
				mustCall(t, first, "a", "hello")
				synctest.Wait()
				if c.quiet {
					close(lost)
				} else if err := first.Close(); err != nil {
					t.Fatal(err)
				}
				delete(cl.net.listeners, "b")
				began := time.Now()
				second := cl.start("b", 8, c.addr, addrs)
				mustCall(t, second, "a", "again")
				mustCall(t, a, "b", "to it")
				if took := time.Since(began); took > c.delay {
					t.Errorf("the successor was let in after %v", took)
				}
				cl.expectDisplaced(nil)
				// The first comes back to life.
				_, err := a.Probe(ctxFor(t), c.addr)
				if err != nil {
					t.Error(err)
				}
				late := cl.start("b", 7, "b3", addrs)
				_, err = late.Call(ctxFor(t), "a", kindEcho, nil)
				expectRefusal(t, err, transport.RefusedSuperseded, true, "at "+c.addr)
				cl.expectDisplaced(map[string]string{"b3": "at " + c.addr})
			})
		})
	}
}

// losable is a connection on which nothing arrives any more, in either direction,
// though nobody is told, once lost is closed.
type losable struct {
	net.Conn
	lost chan struct{}
}

func (l *losable) Write(b []byte) (int, error) {
	select {
	case <-l.lost:
		return len(b), nil
	default:
		return l.Conn.Write(b)
	}
}

// TestClaim_AtOnce has two processes with one id appear at the same moment: one of
// them stays, and is heard.
func TestClaim_AtOnce(t *testing.T) {
	for range 50 {
		synctest.Test(t, func(t *testing.T) {
			c, addrs := &claims{t: t}, new(book)
			c.start("a", 1, "a", addrs)
			both := []*node{c.start("b", 7, "b", addrs), c.start("b", 8, "b2", addrs)}
			var calls sync.WaitGroup
			for _, n := range both {
				calls.Go(func() { n.Call(ctxFor(t), "a", kindEcho, nil) })
			}
			calls.Wait()
			var served int
			for range 3 { // a second after a failure, a call dials again
				served = 0
				for _, n := range both {
					if _, err := n.Call(ctxFor(t), "a", kindEcho, nil); err == nil {
						served++
					}
				}
				time.Sleep(2 * time.Second)
			}
			displaced := 0
			for _, addr := range []string{"b", "b2"} {
				if len(c.displaced[addr]) > 0 {
					displaced++
				}
			}
			if served != 1 || displaced != 1 {
				t.Fatalf("%d are served, %d displaced, want one each", served, displaced)
			}
		})
	}
}
