package propose_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/kvorum/kvorum/cluster/propose"
	"github.com/kvorum/kvorum/kv"
)

// TestProposer_AbandonedStayInBudget shows that a proposal whose caller waits no longer
// counts until the proposer lets go of it (suspected bug 17): it is in memory for as
// long, waiting and under way.
func TestProposer_AbandonedStayInBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		route := &fakeRoute{leads: true, answer: func(propose.Batch) error { <-gate; return nil }}
		one := int64(len(put("a").Data)) + propose.RequestOverhead
		p := runProposer(t, 2*one, route)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 2)
		for _, key := range []string{"a", "b"} { // one is under way, one waits
			go func() {
				_, err := p.Propose(ctx, put(key), false)
				ended <- err
			}()
			synctest.Wait()
		}
		cancel()
		<-ended
		<-ended
		if got := p.Queued().PendingBytes; got != 2*one {
			t.Errorf("after the callers have gone: got %d bytes pending, want those of both", got)
		}
		if _, err := p.Propose(t.Context(), put("c"), false); !errors.Is(err, kv.ErrOverloaded) {
			t.Errorf("a third proposal: got %v, want %v", err, kv.ErrOverloaded)
		}
		close(gate)
		synctest.Wait()
		if got := p.Queued().PendingBytes; got != 0 {
			t.Errorf("after the batch: got %d bytes pending, want 0", got)
		}
		if _, err := p.Propose(t.Context(), put("d"), false); err != nil {
			t.Errorf("a proposal behind them: %v", err)
		}
	})
}
