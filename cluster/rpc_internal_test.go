package cluster

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

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

// TestStaleSnapshot_Starting shows that a snapshot is refused, and not taken for a stale one,
// while there is no replica.
func TestStaleSnapshot_Starting(t *testing.T) {
	if _, err := new(Node).staleSnapshot(new(raft.InstallSnapshotRequest)); !errors.Is(err, kv.ErrNotJoined) {
		t.Errorf("got %v, want ErrNotJoined", err)
	}
}
