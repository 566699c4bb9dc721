package cluster

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kvorum/kvorum/kv"
	"github.com/kvorum/kvorum/transport"
)

// TestHandleRPC_Deadline shows that what a peer asks has nearly the time that the
// peer itself has for it, and a bound where that is none or too much.
func TestHandleRPC_Deadline(t *testing.T) {
	for _, tt := range []struct{ given, want time.Duration }{
		{0, handlerTimeout}, {time.Second, 900 * time.Millisecond}, {30 * time.Second, 27 * time.Second}, {time.Hour, maxHandlerTimeout},
	} {
		synctest.Test(t, func(t *testing.T) {
			ctx := t.Context()
			if tt.given > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, tt.given)
				defer cancel()
			}
			n := &Node{opened: make(chan struct{})} // never: the request waits for as long as it may
			began := time.Now()
			if _, err := n.handleRPC(ctx, transport.Identity{}, kindLeave, nil); !errors.Is(err, kv.ErrClosed) {
				t.Errorf("got %v, want ErrClosed", err)
			}
			if got := time.Since(began); got != tt.want {
				t.Errorf("a peer that gives %v gets %v, want %v", tt.given, got, tt.want)
			}
		})
	}
}

// TestNode_AdminWithoutQuorum shows that changes of the membership are refused
// as not done, long before their own time has passed, while there is no leader.
func TestNode_AdminWithoutQuorum(t *testing.T) {
	nodes := openCluster(t, 3, nil)
	for _, n := range nodes[1:] {
		if err := n.Close(); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the survivor knows no leader", func() error {
		if s := nodes[0].Status(); s.Leader != nil {
			return fmt.Errorf("it knows %s", s.Leader.ID)
		}
		return nil
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var asking sync.WaitGroup
	for what, act := range map[string]func() error{
		"leave":    func() error { return nodes[0].Leave(ctx, kv.LeaveRequest{ID: "n2"}) },
		"transfer": func() error { return nodes[0].Transfer(ctx, "") },
		"join": func() error {
			_, err := nodes[0].Join(ctx, kv.JoinRequest{ID: "n4", PeerAddr: "127.0.0.1:1", HTTPAddr: "127.0.0.1:1"})
			return err
		},
	} {
		asking.Go(func() {
			if err := act(); !errors.Is(err, kv.ErrNoLeader) || errors.Is(err, kv.ErrUnknownOutcome) {
				t.Errorf("%s: got %v, want ErrNoLeader", what, err)
			}
		})
	}
	asking.Wait()
	if ctx.Err() != nil {
		t.Error("they waited until their time had passed")
	}
}
