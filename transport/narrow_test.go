package transport_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/transport"
)

// narrowPair runs f with two nodes in simulated time on a narrow network. The second
// one's raft accepts all.
func narrowPair(t *testing.T, n func() *narrow, f func(t *testing.T, n *narrow, a, b *node)) {
	synctest.Test(t, func(t *testing.T) {
		t.Cleanup(func() { time.Sleep(time.Hour) }) // until the network is empty
		network := memNet{narrow: n()}
		addrs := new(book)
		tune := func(c *transport.Config) {
			network.ours(addrs)(c)
			c.PipelineWindow = transport.MinPipelineWindow
		}
		a, b := startNode(t, "a", addrs, tune), startNode(t, "b", addrs, tune)
		respond(t, b, accept)
		f(t, network.narrow, a, b)
	})
}

// accept answers any command as a follower that accepts it.
func accept(rpc raft.RPC) (any, error) {
	switch rpc.Command.(type) {
	case *raft.AppendEntriesRequest:
		return &raft.AppendEntriesResponse{Term: 3, Success: true}, nil
	case *raft.RequestVoteRequest:
		return &raft.RequestVoteResponse{Granted: true}, nil
	case *raft.RequestPreVoteRequest:
		return &raft.RequestPreVoteResponse{Granted: true}, nil
	case *raft.TimeoutNowRequest:
		return &raft.TimeoutNowResponse{}, nil
	}
	return nil, errors.New("not expected")
}

// appendBy sends one append with an entry of size bytes, in the background.
func appendBy(a *node, size int) <-chan error {
	done := make(chan error, 1)
	go func() {
		done <- a.Raft().AppendEntries("b", "b", appendOf(a, 1, size), new(raft.AppendEntriesResponse))
	}()
	return done
}

// TestBulk_NothingUrgentWaits sends all that is urgent while 64 MiB are on their way
// over 20 Mbit/s, behind a kernel's buffer of 4 MiB. The append takes 27 s and succeeds.
func TestBulk_NothingUrgentWaits(t *testing.T) {
	const size, promptly = 64 << 20, 20 * time.Millisecond
	sends := map[string]func(a *node) error{
		"heartbeat": func(a *node) error {
			return a.Raft().AppendEntries("b", "b", &raft.AppendEntriesRequest{RPCHeader: header(a), Term: 3}, new(raft.AppendEntriesResponse))
		},
		"vote": func(a *node) error {
			return a.Raft().RequestVote("b", "b", &raft.RequestVoteRequest{RPCHeader: header(a)}, new(raft.RequestVoteResponse))
		},
		"pre-vote":   func(a *node) error { return vote(a, "b") },
		"TimeoutNow": func(a *node) error { return a.TimeoutNow(context.Background(), "b") },
		"call": func(a *node) error {
			_, err := a.Call(context.Background(), "b", kindEcho, make([]byte, 100))
			return err
		},
	}
	bulks := map[string]func(t *testing.T, a *node) <-chan error{
		"append": func(_ *testing.T, a *node) <-chan error { return appendBy(a, size) },
		"pipelined": func(t *testing.T, a *node) <-chan error {
			p := mustPipeline(t, a)
			t.Cleanup(func() { p.Close() })
			f, err := p.AppendEntries(appendOf(a, 1, size), new(raft.AppendEntriesResponse))
			done := make(chan error, 1)
			if err != nil {
				done <- err
				return done
			}
			go func() { done <- f.Error() }()
			return done
		},
		"call": func(_ *testing.T, a *node) <-chan error {
			done := make(chan error, 1)
			go func() {
				_, err := a.Call(context.Background(), "b", kindFail, make([]byte, size))
				if remote := new(transport.RemoteError); errors.As(err, &remote) {
					err = nil // it has arrived
				}
				done <- err
			}()
			return done
		},
	}
	for name, begin := range bulks {
		t.Run(name, func(t *testing.T) {
			narrowPair(t, func() *narrow { return newNarrow(20*megabit, 4<<20) }, func(t *testing.T, _ *narrow, a, b *node) {
				began := time.Now()
				bulk := begin(t, a)
				for range 100 {
					time.Sleep(200 * time.Millisecond)
					for what, send := range sends {
						asked := time.Now()
						if err := send(a); err != nil {
							t.Errorf("%s: %v", what, err)
						}
						if took := time.Since(asked); took > promptly {
							t.Fatalf("%s took %v, after %v", what, took, time.Since(began))
						}
					}
				}
				if err := <-bulk; err != nil {
					t.Errorf("after %v: %v", time.Since(began), err)
				}
				if took := time.Since(began); took < 26*time.Second || took > 30*time.Second {
					t.Errorf("it took %v", took)
				}
				if got := a.Peers()[0].RoundTrip; got > promptly {
					t.Errorf("round trip %v", got)
				}
			})
		})
	}
}

// TestBulk_Stalls checks that an append is given up, as one that may have been
// handled, when none of its bytes has moved for 5 s, however much is in a kernel's
// buffer, and that a new connection brings the next one.
func TestBulk_Stalls(t *testing.T) {
	for name, size := range map[string]int{"InTheBuffer": 1 << 20, "Written": 16 << 20} {
		t.Run(name, func(t *testing.T) {
			narrowPair(t, func() *narrow { return newNarrow(megabit, 4<<20) }, func(t *testing.T, n *narrow, a, b *node) {
				appended := appendBy(a, size)
				time.Sleep(7 * time.Second) // longer than what may be without a byte
				select {
				case err := <-appended:
					t.Fatalf("it ended while bytes moved: %v", err)
				default:
				}
				n.rate.Store(1) // as good as nothing
				began := time.Now()
				if err := <-appended; !errors.Is(err, transport.ErrNoAnswer) {
					t.Errorf("got %v, want ErrNoAnswer", err)
				}
				if took := time.Since(began); took < 4*time.Second || took > 5500*time.Millisecond {
					t.Errorf("given up after %v without a byte", took)
				}
				n.rate.Store(megabit)
				time.Sleep(time.Hour)
				if err := <-appendBy(a, 100); err != nil {
					t.Errorf("afterwards: %v", err)
				}
			})
		})
	}
}

// TestBulk_NotAnswered checks that an append which has arrived is given up when raft
// has not answered for 5 s, though other bytes move over its connection.
func TestBulk_NotAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		t.Cleanup(func() { time.Sleep(time.Hour) }) // until the network is empty
		network := memNet{narrow: newNarrow(20*megabit, 1<<20)}
		addrs := new(book)
		a, b := startNode(t, "a", addrs, network.ours(addrs)), startNode(t, "b", addrs, network.ours(addrs))
		appended := appendBy(a, 1<<20)
		taken := <-b.Raft().Consumer()
		began := time.Now()
		calls := goCall(t.Context(), a, "b", kindEcho, make([]byte, 32<<20)) // takes 13 s
		if err := <-appended; !errors.Is(err, transport.ErrNoAnswer) {
			t.Errorf("got %v, want ErrNoAnswer", err)
		}
		if took := time.Since(began); took < 5*time.Second || took > 6*time.Second {
			t.Errorf("given up after %v", took)
		}
		taken.Respond(&raft.AppendEntriesResponse{}, nil)
		if got := <-calls; got.err != nil {
			t.Errorf("the call: %v", got.err)
		}
	})
}

// TestBulk_SmallNotAnswered checks the same of appends that are too small for the peer to
// tell that they have arrived: the answer to a ping tells it.
func TestBulk_SmallNotAnswered(t *testing.T) {
	for _, wait := range []time.Duration{0, 300 * time.Millisecond, 950 * time.Millisecond, 1500 * time.Millisecond} {
		synctest.Test(t, func(t *testing.T) {
			t.Cleanup(func() { time.Sleep(time.Hour) }) // until the network is empty
			network := memNet{narrow: newNarrow(20*megabit, 1<<20)}
			addrs := new(book)
			a, b := startNode(t, "a", addrs, network.ours(addrs)), startNode(t, "b", addrs, network.ours(addrs))
			first := appendBy(a, 100)
			rpc := <-b.Raft().Consumer()
			rpc.Respond(&raft.AppendEntriesResponse{Term: 3, Success: true}, nil)
			if err := <-first; err != nil {
				t.Fatal(err)
			}
			time.Sleep(wait) // to another time between two ticks
			appended := appendBy(a, 100)
			<-b.Raft().Consumer()
			began := time.Now()
			if err := <-appended; !errors.Is(err, transport.ErrNoAnswer) {
				t.Errorf("got %v, want ErrNoAnswer", err)
			}
			// It is known within two ticks that it has arrived.
			if took := time.Since(began); took < 5*time.Second || took > 7100*time.Millisecond {
				t.Errorf("begun %v after another: given up after %v", wait, took)
			}
		})
	}
}

// TestBulk_LongAnswer has an answer take more time than an acceptor waits for a dialer from
// which nothing comes: the dialer's pings keep the connection.
func TestBulk_LongAnswer(t *testing.T) {
	const size = 16 << 20
	synctest.Test(t, func(t *testing.T) {
		t.Cleanup(func() { time.Sleep(time.Hour) }) // until the network is empty
		network := memNet{narrow: newNarrow(2*megabit, 1<<20)}
		addrs := new(book)
		a := startNode(t, "a", addrs, network.ours(addrs))
		startNode(t, "b", addrs, func(c *transport.Config) {
			network.ours(addrs)(c)
			c.Handler = func(context.Context, transport.Identity, transport.Kind, []byte) ([]byte, error) {
				return make([]byte, size), nil
			}
		})
		began := time.Now()
		got, err := a.Call(t.Context(), "b", kindEcho, make([]byte, 8<<10))
		if len(got) != size || err != nil {
			t.Errorf("got %d bytes after %v, %v, want %d", len(got), time.Since(began), err, size)
		}
		if took := time.Since(began); took < time.Minute {
			t.Errorf("it took %v, which shows nothing", took)
		}
	})
}

// TestBulk_LeastRate checks that a peer which takes less than 256 KiB in 10 s does not
// hold a message for ever, and that one which takes somewhat more gets it.
func TestBulk_LeastRate(t *testing.T) {
	for _, c := range []struct {
		rate int64
		ok   bool
	}{{20 << 10, false}, {40 << 10, true}} {
		narrowPair(t, func() *narrow { return newNarrow(c.rate, 256<<10) }, func(t *testing.T, _ *narrow, a, _ *node) {
			err := <-appendBy(a, 4<<20)
			if (err == nil) != c.ok {
				t.Errorf("at %d bytes per second: got %v", c.rate, err)
			}
		})
	}
}

// TestBulk_ByHand speaks the protocol of a bulk connection by hand.
func TestBulk_ByHand(t *testing.T) {
	_, b := pair(t)
	respond(t, b, func(raft.RPC) (any, error) {
		return &raft.AppendEntriesResponse{RPCHeader: header(b), Term: 7, LastLog: 1, Success: true}, nil
	})
	c, r := mustJoinAs(t, b, "B", identity("x", "c")+text("b"))
	first, second := frame(8, 4, appendOfNone("x")), request(5, kindEcho, strings.Repeat("x", 8<<10))
	io.WriteString(c, first)
	expect(t, r, frame(2, 4, raftHeader("b")+number(7)+number(1)+"\x01\x00"))
	io.WriteString(c, second[:5<<10])
	expect(t, r, frame(10, uint64(len(first)+5<<10), "")) // so little as the first frame is not told
	io.WriteString(c, second[5<<10:])
	expect(t, r, frame(2, 5, strings.Repeat("x", 8<<10)))
}

// TestBulk_Lies checks that a peer which tells that more has arrived than was sent, or
// tells so over an urgent connection, is closed.
func TestBulk_Lies(t *testing.T) {
	for kind, size := range map[byte]int{'K': 2 << 10, 'B': 100 << 10} {
		addrs := &book{}
		a := startNode(t, "a", addrs, nil)
		acceptAs(t, addrs, "b", func(opened byte, c net.Conn, r *bufio.Reader) {
			io.WriteString(c, message(5, "\x00"+text("")+identity("b", "c")+"0123456789abcdef"))
			if opened == kind {
				io.CopyN(io.Discard, r, 1<<10) // it has been sent, in part
				io.WriteString(c, frame(10, 1<<40, ""))
			}
			io.Copy(io.Discard, r)
		})
		_, err := a.Call(ctxFor(t), "b", kindEcho, make([]byte, size))
		if !errors.Is(err, transport.ErrNoAnswer) || !strings.Contains(err.Error(), "malformed") {
			t.Errorf("%c: got %v, want ErrNoAnswer for a malformed message", kind, err)
		}
	}
}
