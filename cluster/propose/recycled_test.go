package propose_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/cluster/propose"
	"github.com/kvorum/kvorum/fsm"
	"github.com/kvorum/kvorum/internal/wire"
	"github.com/kvorum/kvorum/kv"
)

// journal has the keys of the batches that were done, or whose outcome is unknown.
type journal struct {
	mu    sync.Mutex
	times map[string]int // guarded by mu
}

// take notes what is in a batch, by the keys, which end with a dot.
func (j *journal) take(b propose.Batch) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for part := range bytes.SplitSeq(dataOf(b), []byte("key-")) {
		if key, _, ok := bytes.Cut(part, []byte(".")); ok {
			j.times[string(key)]++
		}
	}
}

// TestProposer_Recycled has many callers use the memory of proposals and of requests again,
// while batches are done, refused or lost and callers wait no longer. Each caller gets the
// answer to its own request. What is said to be done was done once, and what is said to be
// not done never.
func TestProposer_Recycled(t *testing.T) {
	const callers, calls = 32, 60
	synctest.Test(t, func(t *testing.T) {
		var done journal
		done.times = map[string]int{}
		route := &fakeRoute{leads: true}
		route.answer = func(b propose.Batch) error {
			time.Sleep(rand.N(5 * time.Millisecond))
			switch rand.IntN(6) {
			case 0:
				return kv.ErrNotLeader
			case 1:
				return kv.ErrDiskFull
			case 2:
				if rand.IntN(2) == 0 {
					done.take(b)
				}
				return kv.ErrUnknownOutcome
			}
			done.take(b)
			return nil
		}
		p := runProposer(t, 1<<20, route)
		outcomes := make([]map[string]error, callers)
		var wg sync.WaitGroup
		for caller := range callers {
			outcomes[caller] = map[string]error{}
			wg.Go(func() {
				var memory []byte
				for call := range calls {
					name := fmt.Sprintf("%d/%d", caller, call)
					request := fsm.Encode(wire.Requests{Data: memory[:0]}, kv.Put("key-"+name+".", nil))
					ctx, cancel := context.WithTimeout(t.Context(), rand.N(60*time.Millisecond))
					response, err := p.Propose(ctx, request, false)
					cancel()
					if outcomes[caller][name] = err; err != nil {
						memory = nil // the proposer may still have it
						continue
					}
					if !bytes.Equal(response, request.Data) {
						t.Errorf("%s: got the answer %q", name, response)
					}
					memory = request.Data
				}
			})
		}
		flap := time.NewTicker(7 * time.Millisecond)
		ended := make(chan struct{})
		go func() { wg.Wait(); close(ended) }()
		for leads := true; ; leads = !leads {
			select {
			case <-flap.C:
				route.setLeads(leads)
				p.leaders.SetLeader(map[bool]raft.ServerID{true: "n1.a", false: "n2.b"}[leads], "n1.a", 1)
				continue
			case <-ended:
			}
			break
		}
		flap.Stop()
		checkOutcomes(t, outcomes, done.times)
	})
}

// checkOutcomes compares what callers were told with what happened.
func checkOutcomes(t *testing.T, outcomes []map[string]error, times map[string]int) {
	t.Helper()
	told := map[string]int{}
	for _, one := range outcomes {
		for name, err := range one {
			n := times[name]
			switch {
			case err == nil:
				told["done"]++
				if n != 1 {
					t.Errorf("%s is said to be done, and was done %d times", name, n)
				}
			case errors.Is(err, kv.ErrUnknownOutcome):
				told["unknown"]++
				if n > 1 {
					t.Errorf("%s was done %d times", name, n)
				}
			default:
				told["not done"]++
				if n != 0 {
					t.Errorf("%s is said to be not done (%v), and was done", name, err)
				}
			}
		}
	}
	for _, kind := range []string{"done", "unknown", "not done"} {
		if told[kind] < 20 {
			t.Errorf("only %d calls were told %s: the test shows nothing", told[kind], kind)
		}
	}
}

// TestProposer_LargerThanAll shows that a request which never fits is no overload, which a
// client would answer by sending it again.
func TestProposer_LargerThanAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := runProposer(t, 1000, &fakeRoute{leads: true})
		_, err := p.Propose(t.Context(), encode(kv.Put("k", make([]byte, 2000))), false)
		if class := kv.Classify(err); class == nil || class.Code != kv.CodeTooLarge {
			t.Errorf("got %v, want that it is too large", err)
		}
		if _, err := p.Propose(t.Context(), put("k"), false); err != nil {
			t.Errorf("the next one: %v", err)
		}
	})
}
