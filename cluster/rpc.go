package cluster

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/cluster/leadership"
	"github.com/kvorum/kvorum/cluster/propose"
	"github.com/kvorum/kvorum/cluster/room"
	"github.com/kvorum/kvorum/internal/wire"
	"github.com/kvorum/kvorum/kv"
	"github.com/kvorum/kvorum/transport"
)

// Kinds of RPC between nodes. The values are part of the peer protocol.
const (
	kindPropose   transport.Kind = 1 // requests → responses; the leader only
	kindReadIndex transport.Kind = 2 // the asker's term, 8 bytes → an index, 8 bytes; the leader only
	kindInfo      transport.Kind = 3 // nothing → nodeInfo
	kindAccept    transport.Kind = 4 // acceptRequest → nodeInfo; also before the node is in a cluster
	kindJoin      transport.Kind = 5 // JoinRequest → Member; the leader only
	kindLeave     transport.Kind = 6 // LeaveRequest → nothing; the leader only
	kindRemoved   transport.Kind = 7 // nothing → nothing: tells a node that it was removed
	kindProbe     transport.Kind = 8 // nothing → probeAnswer

	kindLeaderIndex transport.Kind = 9  // nothing → an index, 8 bytes; the leader only, unconfirmed
	kindTransfer    transport.Kind = 10 // transferRequest → nothing; the leader only
	kindHash        transport.Kind = 11 // an index, 8 bytes → the state hash there, 8 bytes, or nothing where it is not known
	kindLostTail    transport.Kind = 12 // term, acknowledged index and last index, 8 bytes each → nothing; see losttail.go
	kindSnapshot    transport.Kind = 13 // nothing → SnapshotResult: takes a snapshot of the node
)

// nodeInfo is what a node tells a peer of itself.
type nodeInfo struct {
	AppliedIndex uint64 `json:"applied_index"`
	CommitIndex  uint64 `json:"commit_index"`
	Empty        bool   `json:"empty"`      // its log holds nothing, and it has no snapshot
	NonVoter     bool   `json:"non_voter"`  // it must never vote
	LogBegins    uint64 `json:"log_begins"` // the index of the first entry that it could send, as a leader

	room.Report // how much room it has
}

// info returns what this node tells a peer of itself.
func (r *replica) info() nodeInfo {
	return nodeInfo{
		AppliedIndex: r.fsm.AppliedIndex(), CommitIndex: r.raft.CommitIndex(), NonVoter: r.cfg.NonVoter,
		Empty: r.raft.LastIndex() == 0, LogBegins: r.logs.Begins(), Report: r.report(),
	}
}

// report returns what this node tells its leader of its room.
func (r *replica) report() room.Report {
	return room.Report{LowDisk: r.disk.Low(), Disk: r.disk.Report(r.logs.LastIndex), Memory: r.memory.Report()}
}

// acceptRequest asks a node that is in no cluster to belong to one, for good.
// The asker tells it where the others are: a node that was added by a command may
// know nobody else.
type acceptRequest struct {
	Cluster string         `json:"cluster"`
	Name    string         `json:"name"`   // whom the asker means
	Peers   []Announcement `json:"peers"`  // members that the asker knows of
	Gossip  []string       `json:"gossip"` // addresses of their gossip
}

// rpcError gives an error the code under which it travels.
type rpcError struct {
	code string
	err  error
}

func (e *rpcError) Error() string   { return e.err.Error() }
func (e *rpcError) Unwrap() error   { return e.err }
func (e *rpcError) RPCCode() string { return e.code }

// codeAsking is the code of propose.ErrAsking. Its class alone would not tell the sender of a
// batch that it has to take it apart.
const codeAsking = "asking"

// toWire gives err the code of its class, if it has one.
func toWire(err error) error {
	var invalid *kv.ValidationError
	class := kv.Classify(err)
	switch {
	case class == nil:
		return err
	case class != kv.ErrUnknownOutcome && errors.Is(err, propose.ErrAsking):
		return &rpcError{codeAsking, err}
	case class != kv.ErrUnknownOutcome && errors.As(err, &invalid):
		return &rpcError{"invalid:" + invalid.Field, errors.New(invalid.Reason)}
	}
	return &rpcError{string(class.Code), err}
}

// fromWire turns an answered error back into what it was on the other node.
func fromWire(err error) error {
	var remote *transport.RemoteError
	if !errors.As(err, &remote) {
		return err
	}
	if remote.Code == codeAsking {
		return &remoteError{propose.ErrAsking, remote}
	}
	if class := kv.ByCode(kv.Code(remote.Code)); class != nil {
		return &remoteError{class, remote}
	}
	if field, ok := strings.CutPrefix(remote.Code, "invalid:"); ok {
		return &kv.ValidationError{Field: field, Reason: remote.Message}
	}
	return err
}

// remoteError is a known error that another node answered, with that node's words.
type remoteError struct {
	is     error
	remote *transport.RemoteError
}

func (e *remoteError) Error() string   { return e.remote.Message }
func (e *remoteError) Unwrap() []error { return []error{e.is, e.remote} }

// Forward implements propose.Route: one message to the leader's proposer.
func (r *replica) Forward(ctx context.Context, b propose.Batch, ready func() bool) ([]byte, error) {
	state, _ := r.leaders.Current()
	if state.Leader == "" {
		return nil, kv.ErrNoLeader
	}
	if state.Leader == r.id {
		return nil, fmt.Errorf("%w: its term has not begun", kv.ErrNotLeader)
	}
	answer, err := r.callLeader(ctx, state.Leader, kindPropose, encodeForwarded(b), ready)
	if err != nil {
		return nil, forwardOutcome(err)
	}
	return answer, nil
}

// forwardOutcome sorts a failed forward. Not done is only what certainly never
// reached the leader's log: a message that was not sent, or one that the leader
// says it refused. All else may have happened.
func forwardOutcome(err error) error {
	switch {
	case errors.Is(err, kv.ErrUnknownOutcome):
		return err
	case errors.Is(err, transport.ErrNotSent):
		return fmt.Errorf("%w: %w", kv.ErrNoLeader, err)
	}
	if invalid := new(kv.ValidationError); errors.As(err, &invalid) {
		return err
	}
	for _, refused := range []error{kv.ErrNotLeader, kv.ErrNoLeader, kv.ErrTimeout, kv.ErrOverloaded, kv.ErrNotJoined, kv.ErrClosed, kv.ErrDiskFull, kv.ErrMemoryFull, kv.ErrDataLimit, kv.ErrUnsupported} {
		if errors.Is(err, refused) {
			return err
		}
	}
	return fmt.Errorf("%w: %w", kv.ErrUnknownOutcome, err)
}

// handleRPC answers one RPC of a peer; it is the transport's handler.
func (n *Node) handleRPC(ctx context.Context, from transport.Identity, kind transport.Kind, payload []byte) ([]byte, error) {
	ctx, cancel := handlerContext(ctx)
	defer cancel()
	select {
	case <-n.opened:
	case <-ctx.Done():
		return nil, toWire(kv.ErrClosed)
	}
	answer, err := n.dispatch(ctx, from, kind, payload)
	return answer, toWire(err)
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
	case kindPropose:
		return r.handlePropose(ctx, payload)
	case kindReadIndex:
		return r.handleReadIndex(ctx, from.ID, payload)
	case kindLeaderIndex:
		return r.handleIndex(ctx, from.ID, r.leaderIndex)
	case kindProbe:
		return r.selfProbe().encode(), nil
	case kindInfo:
		return json.Marshal(r.info())
	case kindSnapshot:
		return r.handleSnapshot(ctx)
	case kindRemoved:
		return nil, n.handleRemoved(r, from)
	case kindLostTail:
		return nil, r.handleLostTail(ctx, from, payload)
	case kindHash:
		return r.handleHash(payload)
	case kindJoin, kindLeave, kindTransfer:
		return n.lead(ctx, r, kind, payload)
	}
	return nil, &kv.ValidationError{Field: "kind", Reason: fmt.Sprintf("this node knows no RPC of kind %d", kind)}
}

// forwardFormat is the first byte of a message with forwarded requests. Behind it are the
// command version that they need (1 byte), their number (uvarint), and the requests. The
// answer has the responses, one after the other, each with its length before it.
const forwardFormat = 2

// encodeForwarded returns the message that carries a batch to the leader.
func encodeForwarded(b propose.Batch) []byte {
	size := 2 + binary.MaxVarintLen64
	for _, part := range b.Parts {
		size += len(part)
	}
	message := append(make([]byte, 0, size), forwardFormat, b.Facts.Version)
	message = binary.AppendUvarint(message, uint64(b.Facts.Count))
	for _, part := range b.Parts {
		message = append(message, part...)
	}
	return message
}

// handlePropose puts what another node's clients have sent into the log. That node has
// checked its own limits. Here it is made sure, once, that nothing that no node may write
// enters the log; from then on the requests are carried as they are.
func (r *replica) handlePropose(ctx context.Context, payload []byte) ([]byte, error) {
	message := wire.NewReader(payload)
	format, version, count := message.Byte(), message.Byte(), message.Count(1)
	if err := message.Err(); err != nil {
		return nil, &kv.ValidationError{Field: "requests", Reason: err.Error()}
	}
	if format != forwardFormat {
		return nil, &kv.ValidationError{Field: "requests", Reason: fmt.Sprintf("are in format %d, this node reads %d", format, forwardFormat)}
	}
	requests, err := r.fsm.Check(version, count, message.Rest())
	if invalid := new(kv.ValidationError); errors.As(err, &invalid) {
		return nil, err
	} else if errors.Is(err, kv.ErrUnsupported) {
		return nil, fmt.Errorf("%w: %s: %w", kv.ErrUnsupported, nameOf(r.id), err)
	} else if err != nil {
		return nil, &kv.ValidationError{Field: "requests", Reason: err.Error()}
	}
	return r.proposer.Propose(ctx, requests, true)
}

// handleReadIndex answers another node's question for an index that covers every write
// acknowledged before it was asked. It is answered at once where the question proves
// enough, and else after a round of probes, which such questions share.
func (r *replica) handleReadIndex(ctx context.Context, asker raft.ServerID, payload []byte) ([]byte, error) {
	if len(payload) != 8 {
		return nil, &kv.ValidationError{Field: "term", Reason: fmt.Sprintf("a read's question has 8 bytes, not %d", len(payload))}
	}
	return r.handleIndex(ctx, asker, func(ctx context.Context) (uint64, error) {
		if index, ok := r.leaderIndexFor(asker, binary.BigEndian.Uint64(payload)); ok {
			return index, nil
		}
		return r.reader.index(ctx)
	})
}

// handleIndex answers a follower's question for an index to read at. The follower waits
// until it has applied that.
func (r *replica) handleIndex(ctx context.Context, asker raft.ServerID, find func(context.Context) (uint64, error)) ([]byte, error) {
	if state, _ := r.leaders.Current(); state.Leader != r.id {
		return nil, kv.ErrNotLeader
	}
	index, err := find(ctx)
	if err != nil {
		return nil, err
	}
	r.peers.TellCommittedTo(asker)
	return binary.BigEndian.AppendUint64(nil, index), nil
}

// onLeader has the leader carry out a membership change, and tries again while
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
		state, changed := r.leaders.Current()
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
		case <-r.ctx.Done():
			return nil, kv.ErrClosed
		case <-ctx.Done():
			if errors.Is(err, kv.ErrNoSuccessor) {
				return nil, err
			}
			return nil, leadership.NoneInTime(err)
		}
	}
}

func (n *Node) callOrLead(ctx context.Context, r *replica, leader raft.ServerID, kind transport.Kind, payload []byte) ([]byte, error) {
	switch leader {
	case "":
		return nil, kv.ErrNoLeader
	case r.id:
		return n.lead(ctx, r, kind, payload)
	}
	answer, err := r.peers.Call(ctx, leader, kind, payload)
	switch {
	case errors.Is(err, transport.ErrNotSent):
		return nil, fmt.Errorf("%w: %w", kv.ErrNoLeader, err)
	case errors.Is(err, transport.ErrNoAnswer):
		return nil, fmt.Errorf("%w: %w", kv.ErrUnknownOutcome, err)
	}
	return answer, fromWire(err)
}
