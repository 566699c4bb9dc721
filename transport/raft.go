package transport

import (
	"errors"
	"io"
	"net"
	"sync"
	"syscall"

	"github.com/hashicorp/raft"
)

// raftPool is how many idle raft streams are kept for each peer: one for
// heartbeats, one for entries.
const raftPool = 2

// raftTransport is the library's NetworkTransport over our streams, without
// what is unsafe in it:
//
//   - No pipeline: after a rejected append it can wait for itself for ever, and
//     that follower gets no entries until the leader restarts (hashicorp/raft
//     issue 612). MaxRPCsInFlight of 1 turns it off.
//   - No fast path for heartbeats: the handler that raft sets would change term
//     and state outside of raft's main goroutine, and logs can diverge
//     (hashicorp/raft issue 695). Without a handler, the NetworkTransport sends
//     heartbeats through Consumer like all else; the intake keeps them alive
//     while raft is busy.
type raftTransport struct {
	*raft.NetworkTransport
	stream *streamLayer
	intake *intake

	closeOnce sync.Once
	closeErr  error
}

var (
	_ raft.Transport   = (*raftTransport)(nil)
	_ raft.WithPreVote = (*raftTransport)(nil)
	_ raft.WithClose   = (*raftTransport)(nil)
)

// Raft returns the transport for raft.NewRaft. A raft.ServerAddress there is
// always equal to the ServerID; network addresses are the Resolver's alone. The
// transport also implements raft.WithPreVote, and raft.WithClose, which ends
// the raft streams and leaves the rest of t as it is.
func (t *Transport) Raft() raft.Transport {
	return t.raft
}

func newRaftTransport(t *Transport) *raftTransport {
	stream := newStreamLayer(t)
	library := raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream:          stream,
		MaxPool:         raftPool,
		MaxRPCsInFlight: 1,
		Timeout:         t.cfg.RaftTimeout,
		Logger:          t.cfg.RaftLogger,
	})
	return &raftTransport{
		NetworkTransport: library,
		stream:           stream,
		intake:           startIntake(library.Consumer(), t.cfg.Identity.ID),
	}
}

// Consumer implements raft.Transport.
func (r *raftTransport) Consumer() <-chan raft.RPC { return r.intake.out }

// SetHeartbeatHandler ignores the handler, as raft.Transport allows.
func (r *raftTransport) SetHeartbeatHandler(func(raft.RPC)) {}

// RequestVote implements raft.Transport.
func (r *raftTransport) RequestVote(id raft.ServerID, target raft.ServerAddress, args *raft.RequestVoteRequest, resp *raft.RequestVoteResponse) error {
	return overStale(func() error { return r.NetworkTransport.RequestVote(id, target, args, resp) })
}

// RequestPreVote implements raft.WithPreVote.
func (r *raftTransport) RequestPreVote(id raft.ServerID, target raft.ServerAddress, args *raft.RequestPreVoteRequest, resp *raft.RequestPreVoteResponse) error {
	return overStale(func() error { return r.NetworkTransport.RequestPreVote(id, target, args, resp) })
}

// overStale repeats a request for a vote that failed because a pooled stream
// had been closed by a restart of the peer: raft asks once per election, and a
// vote lost to that can cost a whole election timeout. Asking again is safe: a
// node grants its vote to the same candidate as often as it is asked.
func overStale(ask func() error) error {
	var err error
	for range raftPool + 1 {
		if err = ask(); !isBroken(err) {
			return err
		}
	}
	return err
}

// isBroken reports whether err is that of a stream whose other end is gone.
func isBroken(err error) bool {
	for _, broken := range []error{io.EOF, io.ErrUnexpectedEOF, net.ErrClosed, syscall.ECONNRESET, syscall.EPIPE} {
		if errors.Is(err, broken) {
			return true
		}
	}
	return false
}

// Close implements raft.WithClose: it closes all raft streams, and waits for
// the library to be done with those of them that peers opened. It is
// idempotent.
func (r *raftTransport) Close() error {
	r.closeOnce.Do(func() {
		r.closeErr = r.NetworkTransport.Close()
		r.intake.close()
		r.CloseStreams()
		r.stream.closeAll()
		r.stream.wg.Wait()
	})
	return r.closeErr
}
