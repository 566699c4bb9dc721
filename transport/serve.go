package transport

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// server is the accepting end of an urgent or bulk connection: it runs the handler
// for each request and sends the answers as they come.
type server struct {
	session
	t    *Transport
	kind streamKind // urgent or bulk
	from Identity
	ctx  context.Context // of all handlers; ends with the connection

	raft *raftServer // belongs to the read loop; nil until the first raft command

	began uint64 // bytes that had been received when the first frame was to come
	tells *tells // of a bulk connection

	// mu guards running: by request, what ends its handler's context.
	mu      sync.Mutex
	running map[uint64]context.CancelFunc
}

// serve serves an accepted connection until it ends.
func serve(c *conn, kind streamKind, local, peer Identity) {
	ctx, cancel := context.WithCancel(c.t.root)
	defer cancel()
	s := &server{
		session: newSession(c), t: c.t, kind: kind, from: peer,
		ctx: ctx, running: make(map[uint64]context.CancelFunc), began: c.received.Load(),
	}
	loop := func() { s.writeLoop(nil, nil) }
	if kind == streamBulk {
		s.tells = newTells(c.t.limits.tellEvery)
		loop = func() { s.writeLoop(s.tells.timer.C, s.tell) }
	}
	if !c.t.spawn(loop) {
		s.end(ErrClosed)
		return
	}
	c.open(kind, local, peer, s)
	s.end(s.readLoop())
}

// retire asks the peer to send no more requests on this connection. The peer
// closes it when it has its answers.
func (s *server) retire() {
	s.put(newOutgoing(appendFrame(nil, frameGoAway, 0, 0)), false)
}

func (s *server) readLoop() error {
	var from io.Reader = &idleReader{s.c, s.t.limits.idle}
	if s.tells != nil {
		from = &toldReader{from, s}
	}
	r := bufio.NewReaderSize(from, frameBufferBytes)
	for {
		f, err := readFrame(r, s.t.cfg.MaxFrameBytes)
		if err == nil {
			err = s.receive(f)
		}
		if err != nil {
			return err
		}
	}
}

// idleReader fails when nothing arrives for as long as limit.
type idleReader struct {
	c     *conn
	limit time.Duration
}

func (r *idleReader) Read(p []byte) (int, error) {
	if err := r.c.SetReadDeadline(time.Now().Add(r.limit)); err != nil {
		return 0, err
	}
	return r.c.Read(p)
}

func (s *server) receive(f frame) error {
	switch f.typ {
	case frameRequest:
		return s.start(f)
	case frameCancel:
		s.mu.Lock()
		cancel := s.running[f.id]
		s.mu.Unlock()
		if cancel != nil { // else the answer is on its way
			cancel()
		}
	case framePing:
		// If there is no room for the answer, other frames are on their way, and
		// they tell the peer as well that this node lives.
		s.offer(newOutgoing(appendFrame(nil, framePong, f.id, 0)))
	case framePong:
		s.answered(f.id)
	case frameRaft:
		return s.startRaft(f)
	default:
		return fmt.Errorf("%w: frame of type %d from the asking side", errMalformed, f.typ)
	}
	return nil
}

// start runs the handler for a request, unless too many run.
func (s *server) start(f frame) error {
	ctx, cancel := s.requestContext(f.timeout)
	s.mu.Lock()
	_, twice := s.running[f.id]
	full := len(s.running) >= s.t.limits.inFlight
	if !twice && !full {
		s.running[f.id] = cancel
	}
	s.mu.Unlock()
	switch {
	case twice:
		cancel()
		return fmt.Errorf("%w: request %d is in progress already", errMalformed, f.id)
	case full:
		cancel()
		s.t.counts.overloads.Add(1)
		s.put(newOutgoing(appendFailure(nil, f.id, &RemoteError{
			Code:    CodeOverloaded,
			Message: fmt.Sprintf("%d requests of this peer are in progress", s.t.limits.inFlight),
		})), false)
		return nil
	}
	if !s.t.spawn(func() { s.handle(ctx, cancel, f) }) {
		cancel()
		return ErrClosed
	}
	return nil
}

func (s *server) requestContext(timeout time.Duration) (context.Context, context.CancelFunc) {
	if timeout > 0 {
		return context.WithTimeout(s.ctx, timeout)
	}
	return context.WithCancel(s.ctx)
}

// handle runs the handler and answers. No answer is sent if the handler failed
// after its context had ended: the caller waits no longer, at the latest by the same
// deadline. The request counts as in progress until its answer is queued, so a
// peer that reads slowly can't accumulate answers.
func (s *server) handle(ctx context.Context, cancel context.CancelFunc, f frame) {
	defer cancel()
	answer, err := s.t.cfg.Handler(ctx, s.from, f.kind, f.payload)
	s.t.counts.handled.Add(1)
	if err == nil || ctx.Err() == nil {
		s.put(s.reply(f.id, answer, err), false)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.running, f.id)
}

func (s *server) reply(id uint64, answer []byte, err error) *outgoing {
	if err == nil && len(answer) > s.t.cfg.MaxFrameBytes {
		err = &RemoteError{
			Code:    CodeTooLarge,
			Message: fmt.Sprintf("answer of %d bytes exceeds %d", len(answer), s.t.cfg.MaxFrameBytes),
		}
	}
	if err == nil {
		return newOutgoing(appendFrame(nil, frameAnswer, id, len(answer)), answer)
	}
	return newOutgoing(appendFailure(nil, id, asRemote(err)))
}

// asRemote returns err as the peer will get it.
func asRemote(err error) *RemoteError {
	e := &RemoteError{Message: err.Error()}
	var coded interface{ RPCCode() string }
	if errors.As(err, &coded) {
		e.Code = coded.RPCCode()
	}
	return e
}
