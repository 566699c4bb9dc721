package transport

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

var (
	errRejected = errors.New("an append was not successful")
	errStalled  = errors.New("nothing of an append has moved, or no answer has come, in time")
)

// pipeline sends appends to one peer without waiting for the answers, up to a
// window of messages. Raft's use of it decides the design: one goroutine sends,
// another reads futures and stops at the first that is unsuccessful, and only the
// first one, once it learns of that, closes the pipeline. So AppendEntries must
// never wait for the second goroutine (hashicorp/raft issue 612).
//
//   - The first answer that is unsuccessful, late or lost fails the pipeline:
//     AppendEntries returns an error from then on, also where it waits already.
//   - Only answers that came from the peer's raft are handed on as futures. Raft
//     does not look at a future's error, and would take it for contact.
type pipeline struct {
	r      *raftTransport
	l      *link
	ctx    context.Context // ends with Close
	cancel context.CancelFunc

	window chan struct{}          // holds one value for each message without an answer
	sent   chan sentAppend        // to the collector; never full, by the window
	done   chan raft.AppendFuture // Consumer
	ended  chan struct{}          // closed when the collector returned

	failOnce sync.Once
	failed   chan struct{} // closed once err is set
	err      error
}

// sentAppend is a message under way.
type sentAppend struct {
	x      *exchange
	future *appendFuture
	last   bool // no further message of the same request
}

var _ raft.AppendPipeline = (*pipeline)(nil)

// AppendEntriesPipeline implements raft.Transport.
func (r *raftTransport) AppendEntriesPipeline(id raft.ServerID, _ raft.ServerAddress) (raft.AppendPipeline, error) {
	window := r.t.cfg.PipelineWindow
	if window < MinPipelineWindow {
		return nil, raft.ErrPipelineReplicationNotSupported
	}
	l, err := r.connect(r.ctx, time.Time{}, id, true)
	if err != nil {
		return nil, err
	}
	p := &pipeline{
		r: r, l: l, window: make(chan struct{}, window), sent: make(chan sentAppend, window),
		done: make(chan raft.AppendFuture, window), ended: make(chan struct{}), failed: make(chan struct{}),
	}
	p.ctx, p.cancel = context.WithCancel(r.ctx)
	if !r.t.spawn(p.collect) {
		p.cancel()
		return nil, ErrClosed
	}
	return p, nil
}

// AppendEntries implements raft.AppendPipeline. It waits while the window is
// full, until an answer comes or none of what is under way has moved for
// Config.RaftTimeout; an error is final for the pipeline.
func (p *pipeline) AppendEntries(args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) (raft.AppendFuture, error) {
	f := &appendFuture{began: time.Now(), args: args, resp: resp, done: make(chan struct{})}
	p.r.bound(args)
	parts := splitAppend(args)
	p.l.c.traffic().carry(args)
	for i := range parts {
		parts[i].committed = p.r.allCommitted(&parts[i], false)
		if err := p.send(&parts[i], f, i == len(parts)-1); err != nil {
			p.fail(err)
			p.l.c.traffic().carried.Store(nil) // fail did so only if it was the first
			return nil, p.err
		}
	}
	return f, nil
}

// send sends one message when the window has room.
func (p *pipeline) send(part *appendPart, f *appendFuture, last bool) error {
	select {
	case p.window <- struct{}{}:
	case <-p.failed:
		return p.err
	case <-p.ctx.Done():
		return raft.ErrPipelineShutdown
	}
	select {
	case <-p.failed: // there was room as well
		return p.err
	default:
	}
	if p.r.silent.Load() {
		return ErrSilent
	}
	buffers, size := part.encode()
	x, err := p.l.begin(p.ctx, time.Time{}, false, message{buffers: buffers, size: size}.frame)
	if err != nil {
		return err
	}
	p.sent <- sentAppend{x, f, last}
	return nil
}

// Consumer implements raft.AppendPipeline.
func (p *pipeline) Consumer() <-chan raft.AppendFuture { return p.done }

// Close implements raft.AppendPipeline: answers that have not arrived are
// discarded. It waits for no peer, and is idempotent.
func (p *pipeline) Close() error {
	p.cancel()
	<-p.ended
	return nil
}

// fail makes AppendEntries return err from now on; only the first counts.
func (p *pipeline) fail(err error) {
	p.failOnce.Do(func() {
		p.err = fmt.Errorf("pipeline to %s: %w", p.l.c.peer.ID, err)
		p.l.c.traffic().carried.Store(nil)
		close(p.failed)
	})
}

// collect takes the answers in the order of the messages, until one is not a
// success, and then waits for Close.
func (p *pipeline) collect() {
	defer close(p.ended)
	if err := p.collectUntilFailure(); err != nil {
		p.fail(err)
	}
	<-p.ctx.Done()
	p.fail(raft.ErrPipelineShutdown)
	for {
		select {
		case s := <-p.sent:
			s.x.abandon()
			s.future.finish(p.err)
		default:
			return
		}
	}
}

func (p *pipeline) collectUntilFailure() error {
	for {
		select {
		case s := <-p.sent:
			err := p.collectOne(s)
			if err != nil {
				s.future.finish(err)
				return err
			}
		case <-p.ctx.Done():
			return raft.ErrPipelineShutdown
		}
	}
}

// collectOne waits for the answer to a message and hands its future on, if it is
// the last of a request or unsuccessful. It returns why the pipeline has to end.
func (p *pipeline) collectOne(s sentAppend) error {
	answer, err := s.x.wait(p.ctx, time.Time{}, p.r.t.cfg.RaftTimeout)
	if err == nil {
		err = decodeResponse(answer, s.future.resp)
	}
	switch {
	case p.ctx.Err() != nil:
		return raft.ErrPipelineShutdown
	case err != nil:
		return err
	}
	if !s.future.resp.Success {
		p.fail(errRejected) // before raft's reader learns of it and is gone
	} else {
		<-p.window
	}
	if s.last && s.future.resp.Success {
		p.l.c.traffic().matched(s.future.args)
		p.r.tellSoon(p.l.c.peer.ID, p.l.c.traffic())
	}
	if s.last || !s.future.resp.Success {
		s.future.finish(nil)
		select {
		case p.done <- s.future:
		case <-p.ctx.Done():
			return raft.ErrPipelineShutdown
		}
	}
	if !s.future.resp.Success {
		return errRejected
	}
	return nil
}

// appendFuture implements raft.AppendFuture.
type appendFuture struct {
	began time.Time
	args  *raft.AppendEntriesRequest
	resp  *raft.AppendEntriesResponse
	once  sync.Once
	done  chan struct{} // closed once err is set
	err   error
}

// finish settles the future; only the first outcome counts.
func (f *appendFuture) finish(err error) {
	f.once.Do(func() {
		f.err = err
		close(f.done)
	})
}

func (f *appendFuture) Error() error {
	<-f.done
	return f.err
}

func (f *appendFuture) Start() time.Time                      { return f.began }
func (f *appendFuture) Request() *raft.AppendEntriesRequest   { return f.args }
func (f *appendFuture) Response() *raft.AppendEntriesResponse { return f.resp }
