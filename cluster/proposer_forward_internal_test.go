package cluster

import (
	"bytes"
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kvorum/kvorum/cluster/leadership"

	"github.com/kvorum/kvorum/kv"
	"github.com/kvorum/kvorum/transport"
)

// relay is a batchRoute to a leader elsewhere: carry is what becomes of a batch.
type relay struct {
	carry func(ctx context.Context, b batch, ready func() bool) error
}

func (relay) leading() bool { return false }

func (relay) supports(byte) error { return nil }

func (relay) apply(batch) ([]byte, error) { return nil, kv.ErrNotLeader }

func (r relay) forward(ctx context.Context, b batch, ready func() bool) ([]byte, error) {
	if err := r.carry(ctx, b, ready); err != nil {
		return nil, err
	}
	return b.data(), nil
}

// proposeTo proposes a put of key in the background, for as long as given.
func proposeTo(t *testing.T, p *proposer, key string, limit time.Duration) <-chan error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	ended := make(chan error, 1)
	go func() {
		_, err := p.propose(ctx, put(key), false)
		ended <- err
	}()
	synctest.Wait()
	return ended
}

// wantNow fails the test unless a proposal has ended by now with want, and with nothing
// that says that its outcome is unknown.
func wantNow(t *testing.T, what string, ended <-chan error, want error) {
	t.Helper()
	synctest.Wait()
	select {
	case err := <-ended:
		if !errors.Is(err, want) || want == nil && err != nil || errors.Is(err, kv.ErrUnknownOutcome) && want != kv.ErrUnknownOutcome {
			t.Errorf("%s: got %v, want %v", what, err, want)
		}
	default:
		t.Errorf("%s has not ended, want %v", what, want)
	}
}

// wantWaits fails the test if a proposal has ended.
func wantWaits(t *testing.T, what string, ended <-chan error) {
	t.Helper()
	synctest.Wait()
	select {
	case err := <-ended:
		t.Errorf("%s has ended with %v, should wait", what, err)
	default:
	}
}

// TestProposer_HangingForward shows that a batch to which the leader gives no answer
// holds up none that comes after it.
func TestProposer_HangingForward(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answer := make(chan error)
		p := runProposer(t, 1<<20, relay{func(_ context.Context, b batch, ready func() bool) error {
			if ready() && b.mentions("hangs") {
				return <-answer
			}
			return nil
		}})
		p.leaders.SetLeader("n2.x", "n1.x", 1)
		hangs := proposeTo(t, p, "hangs", time.Second)
		next := proposeTo(t, p, "next", time.Minute)
		time.Sleep(slowForward)
		wantNow(t, "the next one", next, nil)
		wantNow(t, "the one behind that", proposeTo(t, p, "third", time.Minute), nil)
		wantWaits(t, "the one that hangs", hangs)
		time.Sleep(time.Second)
		wantNow(t, "the one that hangs", hangs, kv.ErrUnknownOutcome)
		answer <- nil
	})
}

// TestProposer_HangingLeader has a leader answer nothing. What could not be sent is told
// so once that is known, and what comes then is told at once, until the leader answers.
func TestProposer_HangingLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answer := make(chan error)
		p := runProposer(t, 1<<20, relay{func(_ context.Context, _ batch, ready func() bool) error {
			if !ready() {
				return kv.ErrNoLeader
			}
			return <-answer
		}})
		p.leaders.SetLeader("n2.x", "n1.x", 1)
		var sent []<-chan error
		for range maxForwards {
			sent = append(sent, proposeTo(t, p, "sent", time.Minute))
			time.Sleep(slowForward)
		}
		waits := proposeTo(t, p, "waits", time.Minute)
		time.Sleep(minHang - time.Millisecond)
		wantWaits(t, "the one behind them", waits)
		time.Sleep(time.Millisecond)
		wantNow(t, "the one behind them", waits, kv.ErrTimeout)
		wantNow(t, "one that comes later", proposeTo(t, p, "later", time.Minute), kv.ErrTimeout)
		answer <- nil
		synctest.Wait()
		next := proposeTo(t, p, "next", time.Minute)
		time.Sleep(slowForward)
		wantWaits(t, "one that was sent when the leader had answered", next)
		for range maxForwards {
			answer <- nil
		}
		for _, ended := range append(sent, next) {
			wantNow(t, "one that was sent", ended, nil)
		}
	})
}

// TestProposer_NewLeaderIsNotHeldUp has all forwards to a leader hang when another one
// is known. What waits behind them waits for as long as they have, and goes there.
func TestProposer_NewLeaderIsNotHeldUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p *proposer
		p = runProposer(t, 1<<20, relay{func(ctx context.Context, _ batch, ready func() bool) error {
			state, changed := p.leaders.Current()
			if !ready() || state.Leader != "n2.x" {
				return nil
			}
			<-changed // as callLeader does
			return kv.ErrUnknownOutcome
		}})
		p.leaders.SetLeader("n2.x", "n1.x", 1)
		for range maxForwards {
			proposeTo(t, p, "sent", time.Minute)
			time.Sleep(slowForward)
		}
		waits := proposeTo(t, p, "waits", time.Minute)
		wantWaits(t, "the one behind them", waits)
		p.leaders.SetLeader("n3.x", "n1.x", 2)
		wantNow(t, "the one behind them", waits, nil)
	})
}

// TestProposer_UnsentIsNotDone has a forward wait for a connection. A caller whose time
// ends meanwhile is told that nothing was done, and nothing is: the others of its batch
// are sent without it.
func TestProposer_UnsentIsNotDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		connected := make(chan struct{})
		var sent []byte
		p := runProposer(t, 1<<20, relay{func(_ context.Context, b batch, ready func() bool) error {
			<-connected
			if !ready() {
				return kv.ErrNoLeader
			}
			sent = append(sent, b.data()...)
			return nil
		}})
		p.leaders.SetLeader("n2.x", "n1.x", 1)
		first := proposeTo(t, p, "first", time.Second)
		short, long := proposeTo(t, p, "short", time.Second), proposeTo(t, p, "long", time.Minute)
		time.Sleep(time.Second) // both of these wait in one batch
		wantNow(t, "the first", first, kv.ErrTimeout)
		wantNow(t, "the second, whose time has ended", short, kv.ErrTimeout)
		close(connected)
		wantNow(t, "the second, whose time has not ended", long, nil)
		if !bytes.Equal(sent, put("long").Data) {
			t.Errorf("sent were %q", sent)
		}
	})
}

// TestProposer_EachTakesTheOtherForLeader has two nodes forward to each other. Neither
// waits for the other: they are told no at once, and ask again until one leads.
func TestProposer_EachTakesTheOtherForLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var tries atomic.Int64
		routes := [2]*fakeRoute{{}, {}}
		var ps [2]*proposer
		for i := range ps {
			routes[i].relay = func(ctx context.Context, b batch) ([]byte, error) {
				tries.Add(1)
				requests := b.facts
				requests.Data = b.data()
				return ps[1-i].propose(ctx, requests, true)
			}
			ps[i] = runProposer(t, 1<<20, routes[i])
		}
		ended := []<-chan error{proposeTo(t, ps[0], "a", time.Minute), proposeTo(t, ps[1], "b", time.Minute)}
		time.Sleep(time.Second)
		if got, want := tries.Load(), int64(time.Second/leadership.RetryDelay); got < want {
			t.Errorf("%d tries in a second, want %d", got, want)
		}
		routes[1].setLeads(true)
		time.Sleep(leadership.RetryDelay)
		for _, e := range ended {
			wantNow(t, "a proposal, when one leads", e, nil)
		}
	})
}

// TestForward_NotConnected shows that a write is not done if its time ends while the
// node still tries to reach the leader, and that it goes to the next one if there is one.
func TestForward_NotConnected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := openBubble(t, 3, nil)
		leader, one, two := b.leaderAndOthers(t)
		b.holdBetween(leader, one, two)
		one.peers.Forget(leader.id())
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		if _, err := one.Do(ctx, kv.Put("k", []byte("v"))); errors.Is(err, kv.ErrUnknownOutcome) || err == nil {
			t.Errorf("while the old leader is known: got %v, want that it was not done", err)
		}
		ctx, cancel = context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := one.Do(ctx, kv.Put("k", []byte("v"))); err != nil {
			t.Errorf("until there is another leader: %v", err)
		}
	})
}

// TestHandleRPC_ForwardedToFollower shows that a node that does not lead refuses a
// forwarded batch at once, whatever it waits for itself.
func TestHandleRPC_ForwardedToFollower(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := openBubble(t, 3, nil)
		leader, one, two := b.leaderAndOthers(t)
		b.holdBetween(leader, one, two)
		for range 2 * maxForwards { // all that may be sent to the old leader, and more
			goPut(t, one, "k")
			time.Sleep(slowForward)
		}
		began := time.Now()
		_, err := two.peers.Call(t.Context(), one.id(), kindPropose, encodeForwarded(single(put("k"))))
		if remote := new(transport.RemoteError); !errors.As(err, &remote) || remote.Code != "not_leader" {
			t.Errorf("got %v, want not_leader", err)
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("refused after %v", took)
		}
	})
}

// goPut puts a key through a node in the background. What becomes of it is of no interest.
func goPut(t *testing.T, n *Node, key string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = n.Do(ctx, kv.Put(key, nil))
	}()
	t.Cleanup(func() { cancel(); <-ended })
}
