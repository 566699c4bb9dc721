package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/cluster/leadership"
	"github.com/kvorum/kvorum/cluster/replica"
	"github.com/kvorum/kvorum/kv"
	"github.com/kvorum/kvorum/transport"
)

// Kinds of RPC between nodes. The values are part of the peer protocol; package replica has
// the others.
const (
	kindAccept   transport.Kind = 4  // acceptRequest → nothing; also before the node is in a cluster
	kindJoin     transport.Kind = 5  // JoinRequest → Member; the leader only
	kindLeave    transport.Kind = 6  // LeaveRequest → nothing; the leader only
	kindRemoved  transport.Kind = 7  // nothing → nothing: tells a node that it was removed
	kindTransfer transport.Kind = 10 // transferRequest → nothing; the leader only
	kindRule     transport.Kind = 14 // rule → an encoded response; the leader only
)

const (
	// handlerTimeout is the maximum time for a peer's request if the peer has set none.
	handlerTimeout = 5 * time.Second
	// maxHandlerTimeout is the maximum time for one if the peer has: more than any request is
	// given.
	maxHandlerTimeout = time.Minute
	// leaderPatience is how long a change of the membership waits for a leader. It
	// is less than 5 s, as for a write, while the change itself may take longer.
	leaderPatience = 4 * time.Second
	// handoverPause is how long a leader that is to leave waits after its first attempt
	// to hand leadership over has failed; after each further one twice as long.
	// Each attempt may hold writes back for as long as a successor has to take over.
	handoverPause = 2 * time.Second
)

// handlerContext limits the time for a peer's request to nine tenths of the time
// that the peer itself has for it, which travels with the request. So the answer arrives in
// time also if the request can't be finished.
func handlerContext(ctx context.Context) (context.Context, context.CancelFunc) {
	limit := handlerTimeout
	if deadline, ok := ctx.Deadline(); ok {
		limit = min(time.Until(deadline)*9/10, maxHandlerTimeout)
	}
	return context.WithTimeout(ctx, limit)
}

// acceptRequest asks a node that is in no cluster to belong to one, for good.
// It has the addresses of other members, because a node that was added by a command may
// know none.
type acceptRequest struct {
	Cluster string         `json:"cluster"`
	Name    string         `json:"name"`   // of the node that the asker means
	Peers   []Announcement `json:"peers"`  // members that the asker knows of
	Gossip  []string       `json:"gossip"` // addresses of their gossip
}

// handleRPC answers one RPC of a peer; it is the transport's handler.
func (n *Node) handleRPC(ctx context.Context, from transport.Identity, kind transport.Kind, payload []byte) ([]byte, error) {
	ctx, cancel := handlerContext(ctx)
	defer cancel()
	select {
	case <-n.opened:
	case <-ctx.Done():
		return nil, replica.ToWire(kv.ErrClosed)
	}
	answer, err := n.dispatch(ctx, from, kind, payload)
	return answer, replica.ToWire(err)
}

func (n *Node) dispatch(ctx context.Context, from transport.Identity, kind transport.Kind, payload []byte) ([]byte, error) {
	if kind == kindAccept {
		return n.handleAccept(from, payload)
	}
	r, err := n.joined()
	if err != nil {
		return nil, err
	}
	if from.Cluster != n.peers.Identity().Cluster {
		return nil, fmt.Errorf("%w: %s", kv.ErrOtherCluster, from.ID)
	}
	switch kind {
	case kindRemoved:
		return nil, n.handleRemoved(r, from)
	case kindJoin, kindLeave, kindTransfer, kindRule:
		return n.lead(ctx, r, kind, payload)
	}
	return r.Handle(ctx, from, kind, payload)
}

// onLeader makes the leader carry out a change of the membership or of a rule. It tries again while
// leadership moves, until ctx ends or no leader has been known for too long.
func (n *Node) onLeader(ctx context.Context, kind transport.Kind, request any) ([]byte, error) {
	r, err := n.joined()
	if err != nil {
		return nil, err
	}
	payload, err := json.Marshal(request)
	if err != nil {
		return nil, fmt.Errorf("encode request: %w", err)
	}
	patience := time.NewTimer(leaderPatience)
	defer patience.Stop()
	handover := handoverPause
	for {
		state, changed := r.Leadership()
		answer, err := n.callOrLead(ctx, r, state.Leader, kind, payload)
		pause := leadership.RetryDelay
		switch {
		case kind == kindLeave && errors.Is(err, kv.ErrNoSuccessor):
			pause, handover = handover, 2*handover
		case !errors.Is(err, kv.ErrNotLeader) && !errors.Is(err, kv.ErrNoLeader):
			return answer, err
		}
		if state.Leader != "" {
			patience.Reset(max(leaderPatience, 2*pause))
		}
		select {
		case <-changed:
		case <-time.After(pause):
		case <-patience.C:
			return nil, leadership.NoneInTime(err)
		case <-r.Done():
			return nil, kv.ErrClosed
		case <-ctx.Done():
			if errors.Is(err, kv.ErrNoSuccessor) {
				return nil, err
			}
			return nil, leadership.NoneInTime(err)
		}
	}
}

func (n *Node) callOrLead(ctx context.Context, r *replica.Replica, leader raft.ServerID, kind transport.Kind, payload []byte) ([]byte, error) {
	switch leader {
	case "":
		return nil, kv.ErrNoLeader
	case n.id():
		return n.lead(ctx, r, kind, payload)
	}
	answer, err := n.peers.Call(ctx, leader, kind, payload)
	switch {
	case errors.Is(err, transport.ErrNotSent):
		return nil, fmt.Errorf("%w: %w", kv.ErrNoLeader, err)
	case errors.Is(err, transport.ErrNoAnswer):
		return nil, fmt.Errorf("%w: %w", kv.ErrUnknownOutcome, err)
	}
	return answer, replica.FromWire(err, leader)
}
