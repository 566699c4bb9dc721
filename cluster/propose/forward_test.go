package propose_test

import (
	"bytes"
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kvorum/kvorum/cluster/leadership"
	"github.com/kvorum/kvorum/cluster/propose"
	"github.com/kvorum/kvorum/kv"
)

// TestProposer_HangingForward shows that a batch to which the leader gives no answer
// holds up none that comes after it.
func TestProposer_HangingForward(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answer := make(chan error)
		p := runProposer(t, 1<<20, relay{func(_ context.Context, b propose.Batch, ready func() bool) error {
			if ready() && mentions(b, "hangs") {
				return <-answer
			}
			return nil
		}})
		p.leaders.SetLeader("n2.x", "n1.x", 1)
		hangs := proposeTo(t, p, "hangs", time.Second)
		next := proposeTo(t, p, "next", time.Minute)
		time.Sleep(propose.SlowForward)
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
		p := runProposer(t, 1<<20, relay{func(_ context.Context, _ propose.Batch, ready func() bool) error {
			if !ready() {
				return kv.ErrNoLeader
			}
			return <-answer
		}})
		p.leaders.SetLeader("n2.x", "n1.x", 1)
		var sent []<-chan error
		for range propose.MaxForwards {
			sent = append(sent, proposeTo(t, p, "sent", time.Minute))
			time.Sleep(propose.SlowForward)
		}
		waits := proposeTo(t, p, "waits", time.Minute)
		time.Sleep(propose.MinHang - time.Millisecond)
		wantWaits(t, "the one behind them", waits)
		time.Sleep(time.Millisecond)
		wantNow(t, "the one behind them", waits, kv.ErrTimeout)
		wantNow(t, "one that comes later", proposeTo(t, p, "later", time.Minute), kv.ErrTimeout)
		answer <- nil
		synctest.Wait()
		next := proposeTo(t, p, "next", time.Minute)
		time.Sleep(propose.SlowForward)
		wantWaits(t, "one that was sent when the leader had answered", next)
		for range propose.MaxForwards {
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
		var p *running
		p = runProposer(t, 1<<20, relay{func(ctx context.Context, _ propose.Batch, ready func() bool) error {
			state, changed := p.leaders.Current()
			if !ready() || state.Leader != "n2.x" {
				return nil
			}
			<-changed // as callLeader does
			return kv.ErrUnknownOutcome
		}})
		p.leaders.SetLeader("n2.x", "n1.x", 1)
		for range propose.MaxForwards {
			proposeTo(t, p, "sent", time.Minute)
			time.Sleep(propose.SlowForward)
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
		p := runProposer(t, 1<<20, relay{func(_ context.Context, b propose.Batch, ready func() bool) error {
			<-connected
			if !ready() {
				return kv.ErrNoLeader
			}
			sent = append(sent, dataOf(b)...)
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
		var ps [2]*running
		for i := range ps {
			routes[i].relay = func(ctx context.Context, b propose.Batch) ([]byte, error) {
				tries.Add(1)
				requests := b.Facts
				requests.Data = dataOf(b)
				return ps[1-i].Propose(ctx, requests, true)
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

// TestProposer_SlowLeader has a leader refuse all writes because it has too much to do,
// or too little time, for as long as they may wait. They are told so, those too that
// wait behind the ones that it refuses.
func TestProposer_SlowLeader(t *testing.T) {
	for _, slow := range []error{kv.ErrOverloaded, kv.ErrTimeout} {
		synctest.Test(t, func(t *testing.T) {
			p := runProposer(t, 1<<20, &fakeRoute{unsent: true, answer: func(propose.Batch) error { return slow }})
			p.leaders.SetLeader("n2.x", "n1.x", 1)
			const limit = 10*leadership.RetryDelay + leadership.RetryDelay/2 // between two attempts
			refused, behind := proposeTo(t, p, "refused", limit), proposeTo(t, p, "behind", limit)
			time.Sleep(limit)
			wantSlow(t, "refused", <-refused, slow)
			wantSlow(t, "behind", <-behind, slow)
		})
	}
}
