package propose_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kvorum/kvorum/cluster/propose"
	"github.com/kvorum/kvorum/kv"
)

// fillSlots has as many batches under way to the leader as there may be, with a put of each
// key in one of its own, and returns what becomes of them.
func fillSlots(t *testing.T, p *running, keys [propose.MaxForwards]string) (ended []<-chan error) {
	t.Helper()
	for _, key := range keys {
		ended = append(ended, proposeTo(t, p, key, time.Hour))
		time.Sleep(propose.SlowForward)
	}
	return ended
}

// TestProposer_UnsentHidesNoHang has a leader answer nothing on one connection, while a
// batch can't be sent on another one. What waits behind them is told that the leader
// hangs, whatever becomes of the batch that can't be sent.
func TestProposer_UnsentHidesNoHang(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answer := make(chan error)
		p := runProposer(t, 1<<20, relay{func(_ context.Context, b propose.Batch, ready func() bool) error {
			if mentions(b, "unsent") {
				return fmt.Errorf("%w: its port is closed", kv.ErrNoLeader)
			}
			if !ready() {
				return kv.ErrNoLeader
			}
			return <-answer
		}})
		p.leaders.SetLeader("n2.x", "n1.x", 1)
		fillSlots(t, p, [...]string{"sent1", "unsent", "sent2", "sent3"})
		waits := proposeTo(t, p, "waits", time.Hour)
		time.Sleep(propose.MinHang - time.Millisecond)
		wantWaits(t, "the one behind them", waits)
		time.Sleep(time.Millisecond)
		wantNow(t, "the one behind them", waits, kv.ErrTimeout)
		for range propose.MaxForwards - 1 {
			answer <- nil
		}
	})
}

// TestProposer_RefusalsAreNoHang has a leader refuse all batches, because it has too much to
// do, and take a second for each. It answers, so that it does not hang: what waits behind
// them waits for as long as it may.
func TestProposer_RefusalsAreNoHang(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var relieved atomic.Bool
		p := runProposer(t, 1<<20, relay{func(_ context.Context, _ propose.Batch, ready func() bool) error {
			if !ready() {
				return kv.ErrNoLeader
			}
			time.Sleep(time.Second)
			if !relieved.Load() {
				return kv.ErrOverloaded
			}
			return nil
		}})
		p.leaders.SetLeader("n2.x", "n1.x", 1)
		sent := fillSlots(t, p, [...]string{"a", "b", "c", "d"})
		waits := proposeTo(t, p, "waits", time.Hour)
		time.Sleep(10 * propose.MinHang)
		wantWaits(t, "the one behind them", waits)
		relieved.Store(true)
		time.Sleep(4 * time.Second)
		for _, ended := range append(sent, waits) {
			wantNow(t, "one of them, when the leader has less to do", ended, nil)
		}
	})
}

// TestProposer_HangAfterRefusals has a leader refuse batches, and then answer nothing. It
// counts as hanging once it has answered nothing for as long as any batch may take.
func TestProposer_HangAfterRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var hangs atomic.Bool
		answer := make(chan error)
		p := runProposer(t, 1<<20, relay{func(_ context.Context, _ propose.Batch, ready func() bool) error {
			if !ready() {
				return kv.ErrNoLeader
			}
			if hangs.Load() {
				return <-answer
			}
			time.Sleep(time.Millisecond)
			return kv.ErrOverloaded
		}})
		p.leaders.SetLeader("n2.x", "n1.x", 1)
		fillSlots(t, p, [...]string{"a", "b", "c", "d"})
		waits := proposeTo(t, p, "waits", time.Hour)
		time.Sleep(propose.MinHang / 2)
		hangs.Store(true)
		time.Sleep(propose.MinHang - time.Millisecond)
		wantWaits(t, "the one behind them", waits)
		time.Sleep(100 * time.Millisecond) // the last of the four has been sent again by then
		wantNow(t, "the one behind them", waits, kv.ErrTimeout)
		for range propose.MaxForwards {
			answer <- nil
		}
	})
}

// TestProposer_OwnReason has one batch be sent while another one can't be. The caller of
// that one is told why, when its time ends, and not that others came first.
func TestProposer_OwnReason(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answer := make(chan error)
		p := runProposer(t, 1<<20, relay{func(_ context.Context, b propose.Batch, ready func() bool) error {
			if mentions(b, "unsent") {
				time.Sleep(time.Second)
				return fmt.Errorf("%w: its port is closed", kv.ErrNoLeader)
			}
			if !ready() {
				return kv.ErrNoLeader
			}
			return <-answer
		}})
		p.leaders.SetLeader("n2.x", "n1.x", 1)
		unsent := proposeTo(t, p, "unsent", 1800*time.Millisecond)
		time.Sleep(1500 * time.Millisecond) // its first attempt has failed, the second is under way
		proposeTo(t, p, "sent", time.Hour)
		if err := <-unsent; kv.Classify(err) != kv.ErrNoLeader || !strings.Contains(err.Error(), "its port is closed") {
			t.Errorf("got %v, want why it was not sent", err)
		}
		answer <- nil
	})
}
