package replica_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kvorum/kvorum/cluster/internal/clustertest"
	"github.com/kvorum/kvorum/cluster/propose"
	"github.com/kvorum/kvorum/kv"
	"github.com/kvorum/kvorum/transport"
)

// TestForward_NotConnected shows that a write is not done if its time ends while the
// node still tries to reach the leader, and that it goes to the next one if there is one.
func TestForward_NotConnected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := clustertest.OpenBubble(t, 3, nil)
		leader, one, two := b.LeaderAndOthers(t)
		b.HoldBetween(leader, one, two)
		one.Peers().Forget(leader.ID())
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
		b := clustertest.OpenBubble(t, 3, nil)
		leader, one, two := b.LeaderAndOthers(t)
		b.HoldBetween(leader, one, two)
		for range 2 * propose.MaxForwards { // all that may be sent to the old leader, and more
			clustertest.GoPut(t, one, "k")
			time.Sleep(propose.SlowForward)
		}
		began := time.Now()
		_, err := two.Peers().Call(t.Context(), one.ID(), kindPropose, forwarded(put("k")))
		if remote := new(transport.RemoteError); !errors.As(err, &remote) || remote.Code != "not_leader" {
			t.Errorf("got %v, want not_leader", err)
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("refused after %v", took)
		}
	})
}
