package transport_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/transport"
)

func TestCall(t *testing.T) {
	a, b := pair(t)
	mustCall(t, a, "b", "hello")
	mustCall(t, b, "a", "")
	for _, size := range []int{1, 64 << 10, 64<<10 + 1, 3<<20 + 17} {
		payload := make([]byte, size)
		for i := range payload {
			payload[i] = byte(rand.Uint32())
		}
		got, err := a.Call(ctxFor(t), "b", kindEcho, payload)
		if err != nil || !bytes.Equal(got, payload) {
			t.Errorf("a payload of %d bytes came back as %d bytes, %v", size, len(got), err)
		}
	}
	if got := await(t, "a learns b", a.learned); got != b.Identity() {
		t.Errorf("learned %+v, want %+v", got, b.Identity())
	}
	if got, want := a.Stats().Calls, uint64(5); got != want {
		t.Errorf("Calls = %d, want %d", got, want)
	}
}

func TestCall_RemoteError(t *testing.T) {
	a, _ := pair(t)
	_, err := a.Call(ctxFor(t), "b", kindFail, []byte("it failed"))
	var remote *transport.RemoteError
	if !errors.As(err, &remote) {
		t.Fatalf("got %v, want a *RemoteError", err)
	}
	if got, want := *remote, (transport.RemoteError{Code: "coded", Message: "it failed"}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if errors.Is(err, transport.ErrNotSent) || errors.Is(err, transport.ErrNoAnswer) {
		t.Errorf("%v says that the call was not answered", err)
	}
	_, err = a.Call(ctxFor(t), "b", kindFail, bytes.Repeat([]byte("x"), 1<<20))
	if !errors.As(err, &remote) || len(remote.Message) != 1024 {
		t.Errorf("a long text came as %.60v", err)
	}
}

func TestCall_TooLarge(t *testing.T) {
	addrs := &book{}
	a := startNode(t, "a", addrs, nil)
	startNode(t, "b", addrs, func(c *transport.Config) {
		c.MaxFrameBytes = 1000
		c.Handler = func(context.Context, transport.Identity, transport.Kind, []byte) ([]byte, error) {
			return make([]byte, 1001), nil
		}
	})
	small := startNode(t, "small", addrs, func(c *transport.Config) { c.MaxFrameBytes = 10 })

	_, err := small.Call(ctxFor(t), "a", kindEcho, make([]byte, 11))
	if !errors.Is(err, transport.ErrNotSent) {
		t.Errorf("a request beyond our limit: got %v, want ErrNotSent", err)
	}
	_, err = a.Call(ctxFor(t), "b", kindEcho, nil)
	var remote *transport.RemoteError
	if !errors.As(err, &remote) || remote.Code != transport.CodeTooLarge {
		t.Errorf("an answer beyond the peer's limit: got %v, want a *RemoteError with CodeTooLarge", err)
	}
	_, err = a.Call(ctxFor(t), "b", kindEcho, make([]byte, 100<<10))
	if !errors.Is(err, transport.ErrNoAnswer) {
		t.Errorf("a request beyond the peer's limit: got %v, want ErrNoAnswer", err)
	}
}

// TestCall_Concurrent checks that many calls share one connection and each gets
// its own answer.
func TestCall_Concurrent(t *testing.T) {
	addrs := &book{}
	a, b := startNode(t, "a", addrs, nil), startNode(t, "b", addrs, nil)
	p := startProxy(t, b.addr)
	addrs.set("b", p.addr())
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			for j := range 20 {
				want := fmt.Sprintf("%d.%d.%s", i, j, strings.Repeat("x", i*j))
				got, err := a.Call(ctxFor(t), "b", kindEcho, []byte(want))
				if err != nil || string(got) != want {
					t.Errorf("got %.20q, %v, want %.20q", got, err, want)
				}
			}
		})
	}
	wg.Wait()
	if got := p.dials(); got != 1 {
		t.Errorf("%d connections were dialed, want 1", got)
	}
}

func TestCall_SlowDoesNotBlockFast(t *testing.T) {
	a, b := pair(t)
	slow := goCall(ctxFor(t), a, "b", kindBlock, []byte("slow"))
	await(t, "the slow call begins", b.started)
	mustCall(t, a, "b", "fast")
	close(b.release)
	if got := await(t, "the slow call ends", slow); got.err != nil || string(got.answer) != "released slow" {
		t.Errorf("the slow call got %q, %v", got.answer, got.err)
	}
}

// TestCall_Context checks that the caller's deadline and its giving up reach the
// handler, and that the error says that the outcome is unknown.
func TestCall_Context(t *testing.T) {
	a, b := pair(t)
	t.Run("Deadline", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		defer cancel()
		_, err := a.Call(ctx, "b", kindBlock, nil)
		if !errors.Is(err, transport.ErrNoAnswer) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want ErrNoAnswer and DeadlineExceeded", err)
		}
		if errors.Is(err, transport.ErrNotSent) {
			t.Errorf("%v is both: sent and not sent", err)
		}
		await(t, "the handler's context ends", b.ended)
	})
	t.Run("DeadlineOnBothSides", func(t *testing.T) {
		for range 20 {
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Millisecond)
			_, err := a.Call(ctx, "b", kindBlock, nil)
			cancel()
			var remote *transport.RemoteError
			if !errors.Is(err, context.DeadlineExceeded) || errors.As(err, &remote) {
				t.Fatalf("got %v, want the caller's own DeadlineExceeded", err)
			}
		}
		poll(t, "the handlers end", func() bool { return len(b.ended) == len(b.started)-1 })
		for len(b.ended) > 0 {
			<-b.ended
		}
	})
	t.Run("Cancel", func(t *testing.T) {
		for len(b.started) > 0 {
			<-b.started
		}
		ctx, cancel := context.WithCancel(context.Background())
		call := goCall(ctx, a, "b", kindBlock, nil)
		await(t, "the handler begins", b.started)
		cancel()
		if got := await(t, "the call ends", call); !errors.Is(got.err, transport.ErrNoAnswer) || !errors.Is(got.err, context.Canceled) {
			t.Errorf("got %v, want ErrNoAnswer and Canceled", got.err)
		}
		if got := await(t, "the handler's context ends", b.ended); !errors.Is(got, context.Canceled) {
			t.Errorf("the handler's context ended with %v, want Canceled", got)
		}
	})
	t.Run("DeadlineTravels", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
		defer cancel()
		answer, err := a.Call(ctx, "b", kindTimeLeft, nil)
		left, parseErr := time.ParseDuration(string(answer))
		if err != nil || parseErr != nil || left <= 0 || left > time.Hour {
			t.Errorf("the handler has %q (%v, %v), want some time up to an hour", answer, err, parseErr)
		}
		answer, err = a.Call(context.Background(), "b", kindTimeLeft, nil)
		if err != nil || string(answer) != "unlimited" {
			t.Errorf("without a deadline, the handler has %q, %v", answer, err)
		}
	})
	t.Run("EndedBefore", func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_, err := a.Call(ctx, "b", kindEcho, nil)
		if !errors.Is(err, transport.ErrNotSent) || !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want ErrNotSent and Canceled", err)
		}
	})
	mustCall(t, a, "b", "the connection is as good as before")
}

func TestCall_Unreachable(t *testing.T) {
	addrs := &book{}
	a := startNode(t, "a", addrs, nil)
	gone := mustListen(t, "")
	addrs.set("gone", gone.Addr().String())
	gone.Close()
	for _, to := range []string{"gone", "unknown"} {
		for range 3 { // dialed, and then not dialed again so soon
			_, err := a.Call(ctxFor(t), raft.ServerID(to), kindEcho, nil)
			if !errors.Is(err, transport.ErrNotSent) || errors.Is(err, transport.ErrNoAnswer) {
				t.Errorf("%s: got %v, want ErrNotSent alone", to, err)
			}
			if to == "gone" && !errors.Is(err, syscall.ECONNREFUSED) {
				t.Errorf("got %v, want its cause too, ECONNREFUSED", err)
			}
		}
	}
	if got := a.Stats().NotSent; got != 6 {
		t.Errorf("NotSent = %d, want 6", got)
	}
}

// TestCall_Cut cuts the connection at every interesting point: before the
// handshake is through, at its end, within a request, and after it.
func TestCall_Cut(t *testing.T) {
	addrs := &book{}
	a, b := startNode(t, "a", addrs, nil), startNode(t, "b", addrs, nil)
	p := startProxy(t, b.addr)
	addrs.set("b", p.addr())
	payload := bytes.Repeat([]byte("x"), 300<<10)

	for _, n := range []int64{0, 1, 20} {
		p.cutAfter(n)
		_, err := a.Call(ctxFor(t), "b", kindEcho, payload)
		if !errors.Is(err, transport.ErrNotSent) || errors.Is(err, transport.ErrNoAnswer) {
			t.Errorf("cut %d bytes into the handshake: got %v, want ErrNotSent alone", n, err)
		}
		poll(t, "the end of the backoff", func() bool {
			before := p.dials()
			a.Call(ctxFor(t), "b", kindEcho, nil)
			return p.dials() > before
		})
	}
	p.heal()
	poll(t, "the peer is reached again", func() bool {
		_, err := a.Call(ctxFor(t), "b", kindEcho, nil)
		return err == nil
	})

	p.cutAfter(100 << 10)
	_, err := a.Call(ctxFor(t), "b", kindEcho, payload)
	if !errors.Is(err, transport.ErrNoAnswer) || errors.Is(err, transport.ErrNotSent) {
		t.Errorf("cut within the request: got %v, want ErrNoAnswer alone", err)
	}
	p.heal()
	mustCall(t, a, "b", "dialed again")

	calls := []<-chan callResult{
		goCall(ctxFor(t), a, "b", kindBlock, nil),
		goCall(ctxFor(t), a, "b", kindBlock, nil),
	}
	await(t, "the first request is handled", b.started)
	await(t, "the second request is handled", b.started)
	p.cut()
	for _, call := range calls {
		if got := await(t, "a call fails", call); !errors.Is(got.err, transport.ErrNoAnswer) {
			t.Errorf("cut after the request: got %v, want ErrNoAnswer", got.err)
		}
		await(t, "the handler's context ends with the connection", b.ended)
	}
	mustCall(t, a, "b", "dialed again")
}

// TestCall_AddressChange checks that calls go over the connection that stands
// until the peer has answered at the address that it is said to have now, and over
// a new one then; and that the calls in progress are not lost.
func TestCall_AddressChange(t *testing.T) {
	addrs := &book{}
	a, b := startNode(t, "a", addrs, nil), startNode(t, "b", addrs, nil)
	slow := goCall(ctxFor(t), a, "b", kindBlock, nil)
	await(t, "the call to the first address begins", b.started)

	gone := mustListen(t, "")
	gone.Close()
	addrs.set("b", gone.Addr().String()) // a lie
	for range 10 {
		mustCall(t, a, "b", "where it is")
	}
	p := startProxy(t, b.addr)
	addrs.set("b", p.addr())
	poll(t, "the new address is dialed", func() bool {
		mustCall(t, a, "b", "moved")
		return p.dials() == 1
	})
	close(b.release)
	if got := await(t, "the call to the first address", slow); got.err != nil {
		t.Errorf("a call in progress was broken by the change of address: %v", got.err)
	}
	poll(t, "the old connection closes", func() bool {
		mustCall(t, a, "b", "moved")
		return a.Stats().Connections == 1
	})
}

// TestCall_Restart checks that a dead process is failed over to its successor.
func TestCall_Restart(t *testing.T) {
	addrs := &book{}
	a := startNode(t, "a", addrs, nil)
	first := startNode(t, "b", addrs, nil)
	mustCall(t, a, "b", "first")
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	poll(t, "the loss is noticed", func() bool {
		_, err := a.Call(ctxFor(t), "b", kindEcho, nil)
		return errors.Is(err, transport.ErrNotSent)
	})
	startNode(t, "b", addrs, nil)
	mustCall(t, a, "b", "second") // at another address: no backoff
}

// TestCall_BackoffEndsWhenThePeerDials checks that nobody waits for the end of a
// backoff once the peer has shown itself.
func TestCall_BackoffEndsWhenThePeerDials(t *testing.T) {
	addrs := &book{}
	a, b := startNode(t, "a", addrs, nil), startNode(t, "b", addrs, nil)
	p := startProxy(t, b.addr)
	addrs.set("b", p.addr())
	p.cutAfter(0)
	for range 5 {
		a.Call(ctxFor(t), "b", kindEcho, nil)
	}
	p.heal()
	mustCall(t, b, "a", "here I am")
	mustCall(t, a, "b", "so you are")
}

func TestCallAddr(t *testing.T) {
	a, b := pair(t)
	who, answer, err := a.CallAddr(ctxFor(t), b.addr, kindEcho, []byte("hello"))
	if err != nil || string(answer) != "hello" || who != b.Identity() {
		t.Errorf("got %+v, %q, %v", who, answer, err)
	}
	who, err = a.Probe(ctxFor(t), b.addr)
	if err != nil || who != b.Identity() {
		t.Errorf("Probe = %+v, %v", who, err)
	}
	if _, _, err = a.CallAddr(ctxFor(t), b.addr, kindFail, []byte("no")); err == nil || errors.Is(err, transport.ErrNotSent) {
		t.Errorf("got %v, want a *RemoteError", err)
	}
	poll(t, "the connections close", func() bool { return b.Stats().Connections == 0 })

	silent := mustListen(t, "")
	defer silent.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	_, _, err = a.CallAddr(ctx, silent.Addr().String(), kindEcho, nil)
	if !errors.Is(err, transport.ErrNotSent) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a peer that does not answer the handshake: got %v, want ErrNotSent and DeadlineExceeded", err)
	}
}

func TestClose(t *testing.T) {
	addrs := &book{}
	a := startNode(t, "a", addrs, nil)
	began, ended := make(chan struct{}), make(chan struct{})
	b := startNode(t, "b", addrs, func(c *transport.Config) {
		c.Handler = func(ctx context.Context, _ transport.Identity, _ transport.Kind, _ []byte) ([]byte, error) {
			close(began)
			<-ctx.Done()
			<-time.After(50 * time.Millisecond) // it is slow to notice
			close(ended)
			return nil, ctx.Err()
		}
	})
	call := goCall(ctxFor(t), a, "b", kindBlock, nil)
	await(t, "the call begins", began)
	if err := b.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	select {
	case <-ended:
	default:
		t.Errorf("Close did not wait for the handler")
	}
	if got := await(t, "the call ends", call); !errors.Is(got.err, transport.ErrNoAnswer) {
		t.Errorf("got %v, want ErrNoAnswer", got.err)
	}
	if err := b.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
	_, err := b.Call(ctxFor(t), "a", kindEcho, nil)
	if !errors.Is(err, transport.ErrNotSent) || !errors.Is(err, transport.ErrClosed) {
		t.Errorf("Call after Close: got %v, want ErrNotSent and ErrClosed", err)
	}
	if _, err := b.Probe(ctxFor(t), a.addr); !errors.Is(err, transport.ErrClosed) {
		t.Errorf("Probe after Close: got %v, want ErrClosed", err)
	}
	if _, err := net.Dial("tcp", b.addr); err == nil {
		t.Errorf("the listener is still open")
	}
}

// TestClose_Caller checks that closing one's own transport ends one's calls.
func TestClose_Caller(t *testing.T) {
	a, b := pair(t)
	call := goCall(context.Background(), a, "b", kindBlock, nil)
	await(t, "the call begins", b.started)
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	got := await(t, "the call ends", call)
	if !errors.Is(got.err, transport.ErrNoAnswer) {
		t.Errorf("got %v, want ErrNoAnswer", got.err)
	}
}

func TestNew_Invalid(t *testing.T) {
	good := transport.Config{
		Identity: transport.Identity{ID: "a"}, Resolver: &book{},
		Handler: func(context.Context, transport.Identity, transport.Kind, []byte) ([]byte, error) { return nil, io.EOF },
	}
	for name, spoil := range map[string]func(*transport.Config){
		"NoListener":    func(c *transport.Config) { c.Listener = nil },
		"NoResolver":    func(c *transport.Config) { c.Resolver = nil },
		"NoHandler":     func(c *transport.Config) { c.Handler = nil },
		"NoID":          func(c *transport.Config) { c.Identity.ID = "" },
		"LongCluster":   func(c *transport.Config) { c.Identity.Cluster = strings.Repeat("x", 257) },
		"LongAddr":      func(c *transport.Config) { c.Identity.HTTPAddr = strings.Repeat("x", 513) },
		"NegativeTime":  func(c *transport.Config) { c.DialTimeout = -1 },
		"HugeFrames":    func(c *transport.Config) { c.MaxFrameBytes = 1<<30 + 1 },
		"NegativeFrame": func(c *transport.Config) { c.MaxFrameBytes = -1 },
	} {
		t.Run(name, func(t *testing.T) {
			cfg := good
			cfg.Listener = mustListen(t, "")
			defer cfg.Listener.Close()
			l := cfg.Listener
			spoil(&cfg)
			if tr, err := transport.New(cfg); err == nil {
				tr.Close()
				t.Errorf("New accepted it")
			}
			if err := l.Close(); err != nil {
				t.Errorf("New closed the listener: %v", err)
			}
		})
	}
}

// TestCallWhen asks just before a request is written: a request that is not ready any
// more is not sent, and the connection is as good as before.
func TestCallWhen(t *testing.T) {
	a, b := pair(t)
	asked := 0
	answer := func(ready bool) func() bool { return func() bool { asked++; return ready } }
	if got, err := a.CallWhen(ctxFor(t), "b", kindEcho, []byte("now"), answer(true)); err != nil || string(got) != "now" {
		t.Errorf("ready: got %q, %v", got, err)
	}
	for _, size := range []int{1, 64 << 10} {
		if _, err := a.CallWhen(ctxFor(t), "b", kindBlock, make([]byte, size), answer(false)); !errors.Is(err, transport.ErrNotSent) {
			t.Errorf("not ready, with %d bytes: got %v, want ErrNotSent", size, err)
		}
	}
	mustCall(t, a, "b", "the connection is as good as before")
	if asked != 3 || len(b.started) != 0 {
		t.Errorf("asked %d times, and %d requests came that should not", asked, len(b.started))
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := a.CallWhen(ended, "b", kindEcho, nil, answer(true)); !errors.Is(err, transport.ErrNotSent) || asked != 3 {
		t.Errorf("no time left: got %v, asked %d times in all", err, asked)
	}
}

// TestCallWhen_EndsAfterReady ends a call while ready is being asked. The call does not end
// before: its caller may send the request another time, and an answer of ready's that is for
// the first time must not be taken for one about the second.
func TestCallWhen_EndsAfterReady(t *testing.T) {
	for ready, want := range map[bool]error{false: transport.ErrNotSent, true: transport.ErrNoAnswer} {
		bubble(t, 0, func(t *testing.T, a, _ *node) {
			ctx, cancel := context.WithCancel(ctxFor(t))
			over := false
			_, err := a.CallWhen(ctx, "b", kindBlock, nil, func() bool {
				cancel()
				synctest.Wait() // the call has seen that its context ended
				over = true
				return ready
			})
			if !over {
				t.Errorf("ready %v: the call ended while ready was asked", ready)
			}
			if !errors.Is(err, want) {
				t.Errorf("ready %v: got %v, want %v", ready, err, want)
			}
		})
	}
}
