package transport

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// raftTransport is raft's transport over the connections that calls use, appends
// over the bulk one and all else over the urgent one, and a connection for each
// snapshot. It differs from the library's own in what was
// unsafe there:
//
//   - There is no fast path for heartbeats. The handler that raft sets would
//     change term and state outside of raft's main goroutine, and logs can
//     diverge (hashicorp/raft issue 695). All commands go through Consumer; the
//     intake keeps a leader alive while raft is busy.
//   - A pipeline fails as soon as an answer is unsuccessful, late or lost, and its
//     Close waits for nobody (issue 612).
//   - A snapshot that is older than what this node has is not installed.
//   - Every command is from whom it says, and for whom it was meant.
type raftTransport struct {
	t      *Transport
	intake *intake
	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	silent atomic.Bool
	pace   pace // of all snapshots that are sent
	once   sync.Once
}

var (
	_ raft.Transport   = (*raftTransport)(nil)
	_ raft.WithPreVote = (*raftTransport)(nil)
	_ raft.WithClose   = (*raftTransport)(nil)
)

// Raft returns the transport for raft.NewRaft. A raft.ServerAddress there is
// always equal to the ServerID; network addresses are the Resolver's alone. The
// transport also implements raft.WithPreVote, and raft.WithClose, which ends
// what is under way for raft and leaves the rest of t as it is.
//
// A message to a peer without a connection fails with an *UnreachableError, at
// once if a dial of the peer has just failed. Other errors are as those of
// Call, and ErrSilent and ErrClosed.
func (t *Transport) Raft() raft.Transport {
	return t.raft
}

// CloseRaft ends what is under way for raft, as raft's own Shutdown does, but before
// it: commands and snapshots under way fail in both directions, and later ones
// too. Calls continue. It is idempotent and always returns nil.
func (t *Transport) CloseRaft() error { return t.raft.Close() }

// SetSilent makes this node neither send nor answer appends, heartbeats, votes
// and snapshots, so that others lead when this node can't; or ends that.
// What is under way is no longer answered either. A leader can still pass its
// leadership on.
func (t *Transport) SetSilent(silent bool) {
	t.raft.silent.Store(silent)
}

func newRaftTransport(t *Transport) *raftTransport {
	r := &raftTransport{t: t, intake: newIntake(t.cfg), pace: newPace(t.cfg.SnapshotBytesPerSecond)}
	r.ctx, r.cancel = context.WithCancel(t.root)
	return r
}

// Consumer implements raft.Transport.
func (r *raftTransport) Consumer() <-chan raft.RPC { return r.intake.out }

// LocalAddr implements raft.Transport. It is the ServerID: raft remembers votes
// by candidate address, so an address that another node could take over would
// let a node vote twice in one term.
func (r *raftTransport) LocalAddr() raft.ServerAddress {
	return raft.ServerAddress(r.t.cfg.Identity.ID)
}

// EncodePeer implements raft.Transport.
func (r *raftTransport) EncodePeer(id raft.ServerID, _ raft.ServerAddress) []byte { return []byte(id) }

// DecodePeer implements raft.Transport.
func (r *raftTransport) DecodePeer(b []byte) raft.ServerAddress { return raft.ServerAddress(b) }

// SetHeartbeatHandler ignores the handler, as raft.Transport allows.
func (r *raftTransport) SetHeartbeatHandler(func(raft.RPC)) {}

// AppendEntries implements raft.Transport. A request with more than 4 MiB of
// entries is sent as several that continue each other; the answer is that of the
// last, or of the first that was unsuccessful. An answer which shows that the
// peer's log has lost its end is reported to Config.LostTail, and is an error: raft
// would send the entries again, as if the peer had never had them.
func (r *raftTransport) AppendEntries(id raft.ServerID, _ raft.ServerAddress, args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) (err error) {
	urgent := isHeartbeat(args)
	traffic := &r.t.peerOf(id).traffic
	if !urgent {
		r.bound(args)
		traffic.carry(args)
		defer func() {
			if err != nil || !resp.Success {
				traffic.carried.Store(nil)
			}
		}()
	}
	for _, part := range splitAppend(args) {
		part.committed = r.allCommitted(&part, urgent)
		buffers, size := part.encode()
		*resp = raft.AppendEntriesResponse{}
		before := traffic.match.Load()
		if err := r.ask(id, message{buffers: buffers, size: size, urgent: urgent}, resp); err != nil {
			return err
		}
		if urgent {
			continue
		}
		if lost := lostTail(id, before, args, resp); lost != nil && r.t.cfg.LostTail != nil {
			r.t.cfg.LostTail(r.ctx, lost)
			return lost
		}
		if !resp.Success {
			return nil
		}
	}
	if !urgent {
		traffic.matched(args)
		r.tellSoon(id, traffic)
	}
	return nil
}

// RequestVote implements raft.Transport.
func (r *raftTransport) RequestVote(id raft.ServerID, _ raft.ServerAddress, args *raft.RequestVoteRequest, resp *raft.RequestVoteResponse) error {
	return r.ask(id, newMessage(args, true), resp)
}

// RequestPreVote implements raft.WithPreVote.
func (r *raftTransport) RequestPreVote(id raft.ServerID, _ raft.ServerAddress, args *raft.RequestPreVoteRequest, resp *raft.RequestPreVoteResponse) error {
	return r.ask(id, newMessage(args, true), resp)
}

// TimeoutNow implements raft.Transport.
func (r *raftTransport) TimeoutNow(id raft.ServerID, _ raft.ServerAddress, args *raft.TimeoutNowRequest, resp *raft.TimeoutNowResponse) error {
	return r.timeoutNow(r.ctx, id, args, resp)
}

// TimeoutNow tells a peer to campaign for leadership at once, and waits for it to
// say that it does, until ctx ends or Config.RaftTimeout has passed. The error is
// as those of raft's transport: where ErrNotSent does not hold and no *RemoteError
// was answered, the peer may campaign.
func (t *Transport) TimeoutNow(ctx context.Context, to raft.ServerID) error {
	id := []byte(t.cfg.Identity.ID)
	request := &raft.TimeoutNowRequest{RPCHeader: raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: id, Addr: id}}
	return t.raft.timeoutNow(ctx, to, request, new(raft.TimeoutNowResponse))
}

func (r *raftTransport) timeoutNow(ctx context.Context, to raft.ServerID, args *raft.TimeoutNowRequest, resp *raft.TimeoutNowResponse) error {
	m := newMessage(args, false)
	m.whileSilent = true
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(r.ctx, cancel)()
	return r.askWithin(ctx, to, m, resp)
}

// message is a command as it is sent.
type message struct {
	buffers [][]byte // the first begins with room for a frame's head
	size    int      // bytes without that room
	urgent  bool     // not behind bulk, and within Config.RaftTimeout in all
	// again says that the command may be sent again when the connection breaks. Raft
	// asks for a vote once per election, and a connection that a restart of the peer
	// left dead can cost a whole election timeout. A node grants its vote to the
	// same candidate as often as it is asked.
	again       bool
	whileSilent bool // it is sent even so
}

// newMessage encodes a command other than AppendEntries.
func newMessage(command any, again bool) message {
	b := appendCommand(make([]byte, frameHeadSize, 256), command)
	return message{buffers: [][]byte{b}, size: len(b) - frameHeadSize, urgent: true, again: again}
}

// frame returns the message as a frame; it must not be called again before the
// frame that it returned was abandoned or sent.
func (m message) frame(id uint64) *outgoing {
	putFrameHead(m.buffers[0], frameRaft, id, m.size)
	o := newOutgoing(m.buffers...)
	o.followed = !m.urgent
	return o
}

// ask sends a message and waits for the answer, which it decodes into response.
func (r *raftTransport) ask(to raft.ServerID, m message, response any) error {
	return r.askWithin(r.ctx, to, m, response)
}

// askWithin is ask until ctx ends, which ends with r.ctx at the latest.
func (r *raftTransport) askWithin(ctx context.Context, to raft.ServerID, m message, response any) error {
	if r.silent.Load() && !m.whileSilent {
		return ErrSilent
	}
	var stall time.Duration
	var end time.Time
	if m.urgent {
		end = time.Now().Add(r.t.cfg.RaftTimeout)
	} else {
		stall = r.t.cfg.RaftTimeout
	}
	var err error
	for range 3 {
		var l *link
		if l, err = r.connect(ctx, end, to, !m.urgent); err != nil {
			return err
		}
		var x *exchange
		if x, err = l.begin(ctx, end, m.urgent, m.frame); errors.Is(err, errStale) {
			continue // nothing was sent
		}
		var answer []byte
		if err == nil {
			answer, err = x.wait(ctx, end, stall)
		}
		if err == nil {
			return decodeResponse(answer, response)
		}
		if !m.again || !l.ended() || ctx.Err() != nil || !time.Now().Before(end) {
			break
		}
		m = m.clone() // the frame may still be being written
	}
	return r.closedOr(err)
}

// clone returns a message of its own buffers.
func (m message) clone() message {
	buffers := make([][]byte, len(m.buffers))
	for i, b := range m.buffers {
		buffers[i] = append([]byte(nil), b...)
	}
	m.buffers = buffers
	return m
}

// connect returns the urgent or bulk connection to a peer. It takes no longer than until
// end, or Config.RaftTimeout if end is zero. The error is an *UnreachableError or ErrClosed.
func (r *raftTransport) connect(ctx context.Context, end time.Time, to raft.ServerID, bulk bool) (*link, error) {
	if r.ctx.Err() != nil {
		return nil, ErrClosed
	}
	if end.IsZero() {
		end = time.Now().Add(r.t.cfg.RaftTimeout)
	}
	l, err := r.t.peerOf(to).connect(ctx, end, bulk)
	if err == nil {
		refused := checkRaft(l.c.local, l.c.peer)
		if refused == nil {
			return l, nil
		}
		err = r.t.refuse(refused)
	}
	if err = r.closedOr(err); errors.Is(err, ErrClosed) {
		return nil, err
	}
	return nil, &UnreachableError{Peer: to, Err: err}
}

// closedOr returns err, or ErrClosed if that is its cause.
func (r *raftTransport) closedOr(err error) error {
	if r.ctx.Err() != nil {
		return ErrClosed
	}
	return err
}

// handle has raft handle a peer's command.
func (r *raftTransport) handle(rpc raft.RPC, gone <-chan struct{}) (any, error) {
	if r.silent.Load() {
		return nil, ErrSilent
	}
	response, err := r.intake.submit(rpc, gone)
	if err == nil && isAppend(rpc.Command) && accepted(response) && r.t.cfg.AwaitDurable != nil {
		err = r.t.cfg.AwaitDurable(lastIndex(rpc.Command.(*raft.AppendEntriesRequest)), gone)
	}
	if r.silent.Load() {
		return nil, ErrSilent
	}
	return response, err
}

// Close implements raft.WithClose: commands that are under way fail, in both
// directions, and later ones too. It is idempotent.
func (r *raftTransport) Close() error {
	r.once.Do(func() {
		r.cancel()
		r.intake.close()
	})
	return nil
}
