package propose_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kvorum/kvorum/cluster/leadership"
	"github.com/kvorum/kvorum/cluster/propose"
	"github.com/kvorum/kvorum/fsm"
	"github.com/kvorum/kvorum/kv"
)

// TestPropose_InternalIsLeaderOnly shows that a request of the leader's own is never sent
// to another node.
func TestPropose_InternalIsLeaderOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, leads := range []bool{true, false} {
			route := &fakeRoute{leads: leads}
			p := runProposer(t, 1<<20, route)
			p.leaders.SetLeader("n2.x", "n1.x", 1)
			for _, leaderOnly := range []bool{true, false} {
				_, err := p.Propose(t.Context(), fsm.RetireRequest("n3.x"), leaderOnly)
				invalid := (*kv.ValidationError)(nil)
				switch {
				case !leaderOnly && !errors.As(err, &invalid):
					t.Errorf("leads %t, not only to the leader: got %v, want a ValidationError", leads, err)
				case leaderOnly && leads && err != nil, leaderOnly && !leads && !errors.Is(err, kv.ErrNotLeader):
					t.Errorf("leads %t, only to the leader: got %v", leads, err)
				}
			}
			if want := map[bool]int{true: 1}[leads]; len(route.batches) != want {
				t.Errorf("leads %t: %d batches were sent, want %d", leads, len(route.batches), want)
			}
		}
	})
}

// TestProposer_Batches shows that what waits while a batch is under way goes
// together, and that each waiter gets its own result.
func TestProposer_Batches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		route := &fakeRoute{leads: true, answer: func(propose.Batch) error { <-gate; return nil }}
		p := runProposer(t, 1<<20, route)
		var wg sync.WaitGroup
		submit := func(i int) {
			wg.Go(func() {
				request := put(fmt.Sprint("key", i))
				response, err := p.Propose(t.Context(), request, false)
				if err != nil || !bytes.Equal(response, request.Data) {
					t.Errorf("propose %d: got %q, %v", i, response, err)
				}
			})
		}
		submit(0)
		synctest.Wait()
		for i := 1; i < 10; i++ {
			submit(i)
		}
		synctest.Wait()
		close(gate)
		wg.Wait()
		if got := []int{route.batches[0].Facts.Count, route.batches[1].Facts.Count}; len(route.batches) != 2 || got[0] != 1 || got[1] != 9 {
			t.Errorf("got batches of %v commands, want 1 and 9", got)
		}
	})
}

// TestProposer_Outcomes is the table of what a caller is told.
func TestProposer_Outcomes(t *testing.T) {
	invalid := &kv.ValidationError{Field: "value", Reason: "too large"}
	for _, tt := range []struct {
		name      string
		answer    func(try int) error
		forwarded bool
		leads     bool
		want      error
		tries     int
	}{
		{"OK", func(int) error { return nil }, false, true, nil, 1},
		{"NotDoneIsTriedAgain", func(try int) error {
			if try < 3 {
				return kv.ErrNotLeader
			}
			return nil
		}, false, true, nil, 3},
		{"UnknownIsNeverTriedAgain", func(int) error { return kv.ErrUnknownOutcome }, false, true, kv.ErrUnknownOutcome, 1},
		{"InvalidIsNeverTriedAgain", func(int) error { return invalid }, false, true, invalid, 1},
		{"ForwardedIsNotForwardedOn", func(int) error { return nil }, true, false, kv.ErrNotLeader, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				try := 0
				route := &fakeRoute{leads: tt.leads, answer: func(propose.Batch) error { try++; return tt.answer(try) }}
				p := runProposer(t, 1<<20, route)
				_, err := p.Propose(t.Context(), put("k"), tt.forwarded)
				if !errors.Is(err, tt.want) || (tt.want == nil && err != nil) {
					t.Errorf("got error %v, want %v", err, tt.want)
				}
				if try != tt.tries {
					t.Errorf("got %d tries, want %d", try, tt.tries)
				}
			})
		})
	}
}

// TestProposer_Deadline shows the two ends of a caller that waits no longer:
// not done while its batch was never sent, unknown once it was; and that a
// proposal whose caller was told anything is not sent afterwards.
func TestProposer_Deadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan error)
		route := &fakeRoute{leads: true, answer: func(propose.Batch) error { return <-gate }}
		p := runProposer(t, 1<<20, route)
		p.leaders.SetLeader("n1", "n1", 1)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		errs := make(map[string]error)
		var mu sync.Mutex
		var wg sync.WaitGroup
		submit := func(key string) {
			wg.Go(func() {
				_, err := p.Propose(ctx, put(key), false)
				mu.Lock()
				errs[key] = err
				mu.Unlock()
			})
		}
		submit("sent")
		synctest.Wait()
		submit("waiting")
		wg.Wait()
		if !errors.Is(errs["sent"], kv.ErrUnknownOutcome) {
			t.Errorf("sent: got %v, want ErrUnknownOutcome", errs["sent"])
		}
		if err := errs["waiting"]; !errors.Is(err, kv.ErrTimeout) || errors.Is(err, kv.ErrUnknownOutcome) || errors.Is(err, kv.ErrNoLeader) {
			t.Errorf("waiting behind others: got %v, want ErrTimeout", err)
		}
		gate <- kv.ErrNotLeader // the first batch turns out not done: its caller has been told 'unknown'
		synctest.Wait()
		time.Sleep(time.Second)
		if len(route.batches) != 1 {
			t.Errorf("got %d batches, want 1: an abandoned proposal was sent", len(route.batches))
		}
	})
}

// TestProposer_ForwardedDoesNotWait shows that what another node forwards is
// refused at once by a node that lost leadership, although its own proposals wait.
func TestProposer_ForwardedDoesNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := runProposer(t, 1<<20, &fakeRoute{unsent: true, answer: func(propose.Batch) error { return kv.ErrNoLeader }})
		own, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		done := make(chan error, 1)
		go func() {
			_, err := p.Propose(own, put("own"), false)
			done <- err
		}()
		synctest.Wait()
		began := time.Now()
		if _, err := p.Propose(t.Context(), put("forwarded"), true); !errors.Is(err, kv.ErrNotLeader) {
			t.Errorf("forwarded: got %v, want ErrNotLeader", err)
		}
		if took := time.Since(began); took > leadership.RetryDelay {
			t.Errorf("forwarded: refused after %v behind a waiting batch", took)
		}
		if err := <-done; !errors.Is(err, kv.ErrNoLeader) {
			t.Errorf("own: got %v, want ErrNoLeader", err)
		}
	})
}

// TestProposer_Overload shows that bytes under way are bounded, and given back.
func TestProposer_Overload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		route := &fakeRoute{leads: true, answer: func(propose.Batch) error { <-gate; return nil }}
		p := runProposer(t, 1000, route)
		large := encode(kv.Put("k", make([]byte, 800)))
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := p.Propose(t.Context(), large, false); err != nil {
				t.Errorf("first: got %v", err)
			}
		})
		synctest.Wait()
		if _, err := p.Propose(t.Context(), large, false); !errors.Is(err, kv.ErrOverloaded) {
			t.Errorf("second: got %v, want ErrOverloaded", err)
		}
		close(gate)
		wg.Wait()
		if _, err := p.Propose(t.Context(), large, false); err != nil {
			t.Errorf("after the first ended: got %v", err)
		}
		if got := p.Queued().PendingBytes; got != 0 {
			t.Errorf("got %d bytes pending at rest, want 0", got)
		}
	})
}

// TestProposer_Bounds shows that a batch is cut at its bounds and nothing is lost there.
func TestProposer_Bounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		route := &fakeRoute{leads: true, answer: func(propose.Batch) error { <-gate; return nil }}
		p := runProposer(t, 1<<30, route)
		var wg sync.WaitGroup
		big := make([]byte, propose.MaxBatchBytes*2/3)
		for range 4 {
			wg.Go(func() {
				if _, err := p.Propose(t.Context(), encode(kv.Put("k", big)), false); err != nil {
					t.Errorf("got %v", err)
				}
			})
		}
		synctest.Wait()
		close(gate)
		wg.Wait()
		if len(route.batches) != 4 {
			t.Errorf("got %d batches, want 4: two of these don't fit one", len(route.batches))
		}
	})
}

// TestProposer_Close shows that what waits when the proposer stops is told so.
func TestProposer_Close(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := propose.New(1<<20, 0, leadership.New(), &fakeRoute{unsent: true, answer: func(propose.Batch) error { return kv.ErrNoLeader }})
		ctx, cancel := context.WithCancel(t.Context())
		go p.Run(ctx)
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				if _, err := p.Propose(t.Context(), put("k"), false); !errors.Is(err, kv.ErrClosed) {
					t.Errorf("got %v, want ErrClosed", err)
				}
			})
		}
		synctest.Wait()
		cancel()
		wg.Wait()
	})
}
