package clustertest

import (
	"context"
	"testing"
	"time"

	"github.com/kvorum/kvorum/kv"
)

// Joining is a join in the background.
type Joining struct {
	Done   chan struct{} // closed once Member and Err are set
	Member kv.Member
	Err    error
}

// GoJoin has a node ask for another one to join, until ctx ends.
func GoJoin(ctx context.Context, n, joiner *Node) *Joining {
	j := &Joining{Done: make(chan struct{})}
	go func() {
		defer close(j.Done)
		j.Member, j.Err = n.Join(ctx, kv.JoinRequest{ID: joiner.Config.Name, PeerAddr: joiner.Config.AdvertisePeer, HTTPAddr: "127.0.0.1:1"})
	}()
	return j
}

// Soon limits a change that has to wait for nobody. A member that does not answer
// is waited for, for a second or two.
func Soon(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}
