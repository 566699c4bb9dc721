package replica

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/transport"
)

const (
	// leaderCallTimeout is the maximum time of a call to the leader.
	leaderCallTimeout = 5 * time.Second
	// supersededGrace is the part of the heartbeat timeout that a call to a leader may still
	// take once another leader is known. An answer in flight arrives within that time: on a
	// slower network no heartbeat arrives in time. Whatever waits for the end of the call
	// waits as long.
	supersededGrace = 4
)

// callLeader calls the leader; ready is that of transport's CallWhen. The call ends soon
// after another leader is known, or after leaderCallTimeout, so that an old leader that
// hangs does not block other calls. Once another leader is known, nothing more is sent to
// the old one.
func (r *Replica) callLeader(ctx context.Context, leader raft.ServerID, kind transport.Kind, payload []byte, ready func() bool) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, leaderCallTimeout)
	defer cancel()
	var begun atomic.Bool // the message is being sent, or must not be sent any more
	watch := make(chan struct{})
	defer func() { <-watch }()
	defer cancel() // runs first: ends the goroutine
	go func() {
		defer close(watch)
		if !r.superseded(ctx, leader) {
			return
		}
		if !begun.CompareAndSwap(false, true) {
			select {
			case <-time.After(r.cfg.Timing.Heartbeat / supersededGrace):
			case <-ctx.Done():
			}
		}
		cancel()
	}()
	answer, err := r.peers.CallWhen(ctx, leader, kind, payload, func() bool {
		return begun.CompareAndSwap(false, true) && ready()
	})
	return answer, FromWire(err, leader)
}

// superseded waits until another leader than this one is known, and returns false if
// ctx ends before.
func (r *Replica) superseded(ctx context.Context, leader raft.ServerID) bool {
	for {
		state, changed := r.leaders.Current()
		if state.Leader != "" && state.Leader != leader {
			return true
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return false
		}
	}
}
