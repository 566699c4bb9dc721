package transport

import (
	"bytes"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// Limits on the raft commands in progress for one connection. Senders have a
// few appends under way, and one or two of the others.
const (
	maxAppendsWaiting = 16
	maxRaftInFlight   = 64
)

var (
	errRaftBusy     = errors.New("raft did not take the command in time")
	errRaftOverload = &RemoteError{Code: CodeOverloaded, Message: "too many raft commands of this peer are in progress"}
)

// raftServer hands raft the commands of one connection: those of a bulk one, the
// appends, in the order they came, each when the one before was answered; those of
// an urgent one as they come.
type raftServer struct {
	s        *server
	appends  chan raftCommand
	inFlight atomic.Int32
}

// raftCommand is a command and the frame that brought it.
type raftCommand struct {
	id        uint64
	command   any
	committed uint64 // how far the log was committed when an append or a heartbeat was sent; 0 if that is not known
	arrived   time.Time
}

// startRaft begins to handle a command. An error ends the connection.
func (s *server) startRaft(f frame) error {
	if refused := checkRaft(s.c.local, s.from); refused != nil || !s.c.aimed {
		return fmt.Errorf("%w: raft command on a connection that is not for raft", errMalformed)
	}
	command, committed, err := decodeCommand(f.payload)
	if err != nil {
		return err
	}
	if err := checkSender(command, s.from); err != nil {
		return err
	}
	if isAppend(command) != (s.kind == streamBulk) {
		return fmt.Errorf("%w: %T over the wrong connection", errMalformed, command)
	}
	if s.raft == nil {
		r := &raftServer{s: s, appends: make(chan raftCommand, maxAppendsWaiting)}
		if s.kind == streamBulk && !s.t.spawn(r.appendLoop) {
			return ErrClosed
		}
		s.raft = r
	}
	return s.raft.start(raftCommand{f.id, command, committed, time.Now()})
}

// checkSender makes sure that a command names as its sender who sent it, and
// that it may come over this connection. Raft itself takes its word for it, and
// asks less of a sender without an id.
func checkSender(command any, from Identity) error {
	h := command.(raft.WithRPCHeader).GetRPCHeader()
	if string(h.ID) != string(from.ID) || !bytes.Equal(h.Addr, h.ID) {
		return fmt.Errorf("%w: raft command in the name of %q at %q", errMalformed, h.ID, h.Addr)
	}
	return nil
}

func (r *raftServer) start(c raftCommand) error {
	if _, ok := c.command.(*raft.InstallSnapshotRequest); ok {
		return fmt.Errorf("%w: a snapshot has a connection of its own", errMalformed)
	}
	if isAppend(c.command) {
		select {
		case r.appends <- c:
		default:
			r.reply(c.id, nil, errRaftOverload)
		}
		return nil
	}
	if r.inFlight.Add(1) > maxRaftInFlight {
		r.inFlight.Add(-1)
		r.reply(c.id, nil, errRaftOverload)
		return nil
	}
	if !r.s.t.spawn(func() { defer r.inFlight.Add(-1); r.handle(c) }) {
		return ErrClosed
	}
	return nil
}

// appendLoop handles appends until the connection ends.
func (r *raftServer) appendLoop() {
	for {
		select {
		case c := <-r.appends:
			r.handle(c)
		case <-r.s.done:
			return
		}
	}
}

func (r *raftServer) handle(c raftCommand) {
	response, err := r.s.t.raft.handle(raft.RPC{Command: c.command}, r.s.done)
	if heard := r.s.t.cfg.Heard; heard != nil && err == nil && c.committed > 0 && accepted(response) {
		heard(c.committed, c.arrived)
	}
	r.reply(c.id, response, err)
}

// isAppend reports whether a command is an append, with entries or without. A
// heartbeat is none: it tells raft nothing of the log, nor of what is committed.
func isAppend(command any) bool {
	request, ok := command.(*raft.AppendEntriesRequest)
	return ok && !isHeartbeat(request)
}

// accepted reports whether an answer is that to an append or a heartbeat which raft has
// accepted.
func accepted(response any) bool {
	answer, ok := response.(*raft.AppendEntriesResponse)
	return ok && answer.Success
}

func (r *raftServer) reply(id uint64, response any, err error) {
	if err != nil {
		r.s.put(newOutgoing(appendFailure(nil, id, asRemote(err))), true)
		return
	}
	b := make([]byte, frameHeadSize, frameHeadSize+128)
	if b, err = appendResponse(b, response); err != nil {
		r.s.put(newOutgoing(appendFailure(nil, id, asRemote(err))), true)
		return
	}
	putFrameHead(b, frameAnswer, id, len(b)-frameHeadSize)
	r.s.put(newOutgoing(b), true)
}
