package transport

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// errStale is returned by link.call when the link takes no more calls: nothing
// was sent, and another link may do better.
var errStale = errors.New("connection takes no more calls")

// link is the dialing end of an urgent or bulk connection: it carries the requests
// of many concurrent calls and hands each its answer.
type link struct {
	session
	addr string // that was dialed

	// mu guards the fields below.
	mu      sync.Mutex
	nextID  uint64
	waiting map[uint64]chan frame // capacity 1; filled by the reader
	retired bool                  // takes no more calls

	// The fields below belong to the write loop: when the next tick is, the number of the
	// last ping, how many bytes had been received at the last tick, and over a bulk
	// connection written, and, where nothing was received since a ping, the ticks since that.
	timer    *time.Timer
	due      time.Time
	ping     uint64
	received uint64
	written  uint64
	pinged   bool
	silent   int

	pingSent atomic.Pointer[sentPing]
}

// sentPing is the ping that a pong is awaited for.
type sentPing struct {
	number uint64
	at     time.Time
	behind uint64 // bytes of frames that were written before it over a bulk connection
}

// openLink dials addr for an urgent or bulk connection, and introduces this node to
// target, or to any node that answers if target is empty. The caller must end the
// link.
func (t *Transport) openLink(ctx context.Context, addr string, kind streamKind, target raft.ServerID) (*link, error) {
	c, local, peer, err := t.dial(ctx, addr, kind, target)
	if err != nil {
		return nil, err
	}
	l := &link{session: newSession(c), addr: addr, waiting: make(map[uint64]chan frame)}
	l.last = l.beatSoon
	if kind == streamBulk {
		l.out = new(progress)
	}
	c.open(kind, local, peer, l)
	if !t.spawn(l.readLoop) || !t.spawn(l.pingLoop) {
		l.end(ErrClosed)
		return nil, ErrClosed
	}
	return l, nil
}

// errWithheld is returned by link.call when ready said no.
var errWithheld = errors.New("it was withheld")

// call sends one request and waits for its answer. Its error is a *RemoteError,
// errStale, or wraps ErrNotSent or ErrNoAnswer. ready may be nil; see CallWhen.
func (l *link) call(ctx context.Context, kind Kind, payload []byte, ready func() bool) ([]byte, error) {
	timeout, err := timeLeft(ctx)
	if err != nil {
		return nil, notSent(err)
	}
	x, err := l.begin(ctx, time.Time{}, false, func(id uint64) *outgoing {
		o := newOutgoing(appendRequest(nil, id, kind, timeout, len(payload)), payload)
		if ready != nil {
			o.ready, o.withheld, o.asked = ready, make(chan struct{}), make(chan struct{})
		}
		return o
	})
	if err != nil {
		return nil, err
	}
	return x.wait(ctx, time.Time{}, 0)
}

// exchange is a request that was queued, and the answer to it.
type exchange struct {
	l      *link
	id     uint64
	answer <-chan frame
	o      *outgoing
	began  time.Duration // the connection's age when it was queued
}

// begin queues the request that frame makes for an id, until ctx ends or the time end has
// come, where that is not zero. Its error is errStale or wraps ErrNotSent. The exchange must
// be waited for or abandoned.
func (l *link) begin(ctx context.Context, end time.Time, urgent bool, frame func(id uint64) *outgoing) (*exchange, error) {
	id, answer, ok := l.expect()
	if !ok {
		return nil, errStale
	}
	x := &exchange{l: l, id: id, answer: answer, o: frame(id), began: l.c.age()}
	queue := l.queueOf(urgent)
	select {
	case queue <- x.o: // there nearly always is room, and no timer is made
		return x, nil
	default:
	}
	late, stop := timerAt(end)
	defer stop()
	var err error
	select {
	case queue <- x.o:
		return x, nil
	case <-late:
		err = context.DeadlineExceeded
	case <-ctx.Done():
		err = ctx.Err()
	case <-l.done:
		err = l.err
	}
	l.forget(id)
	return nil, notSent(err)
}

// timerAt returns a channel that gets a value at end, nil if end is zero, and what stops
// its timer. A heartbeat needs no more, and a context with a deadline costs more.
func timerAt(end time.Time) (<-chan time.Time, func()) {
	if end.IsZero() {
		return nil, func() {}
	}
	timer := time.NewTimer(time.Until(end))
	return timer.C, func() { timer.Stop() }
}

// wait returns the answer's payload. It stops waiting when ctx ends, at the time end, where that
// is not zero, and, on a bulk connection, when nothing has moved for as long as stall, where
// that is not 0. Its error is a *RemoteError, or wraps ErrNotSent or ErrNoAnswer.
func (x *exchange) wait(ctx context.Context, end time.Time, stall time.Duration) ([]byte, error) {
	defer x.l.forget(x.id)
	defer x.leaveProgress()
	late, stop := timerAt(end)
	defer stop()
	var stalled <-chan time.Time
	var timer *time.Timer
	if stall > 0 {
		timer = time.NewTimer(stall)
		defer timer.Stop()
		stalled = timer.C
	}
	var err error
	for err == nil {
		select {
		case f := <-x.answer:
			return result(f)
		case <-late:
			err = context.DeadlineExceeded
		case <-ctx.Done():
			err = ctx.Err()
		case <-x.l.done:
			err = x.l.err
		case <-x.o.withheld:
			return nil, notSent(errWithheld)
		case <-stalled:
			if left := stall - x.idle(); left > 0 {
				timer.Reset(left)
			} else {
				err = errStalled
			}
		}
	}
	select {
	case f := <-x.answer: // it came just before the end
		return result(f)
	default:
	}
	if x.o.withdraw() || x.o.wasWithheld() {
		return nil, notSent(err)
	}
	x.l.offer(newOutgoing(appendFrame(nil, frameCancel, x.id, 0)))
	return nil, fmt.Errorf("%w: %w", ErrNoAnswer, err)
}

// idle returns for how long the request has not moved. While it waits for its turn,
// what is before it moves on its behalf; once it has wholly arrived, nothing does.
func (x *exchange) idle() time.Duration {
	if way := x.o.way.Load(); way != nil {
		if arrived := time.Duration(way.arrived.Load()); arrived != 0 {
			return x.l.c.age() - arrived
		}
	}
	return x.l.c.age() - max(x.began, x.l.c.movedAt())
}

// leaveProgress has the request followed no longer.
func (x *exchange) leaveProgress() {
	if way := x.o.way.Load(); way != nil {
		x.l.out.drop(way)
	}
}

// abandon ends the wait for the answer.
func (x *exchange) abandon() {
	x.o.withdraw()
	x.leaveProgress()
	x.l.forget(x.id)
}

// timeLeft returns the time until ctx ends, 0 if it has no deadline.
func timeLeft(ctx context.Context) (time.Duration, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	deadline, ok := ctx.Deadline()
	if !ok {
		return 0, nil
	}
	left := time.Until(deadline)
	if left <= 0 {
		return 0, context.DeadlineExceeded
	}
	return left, nil
}

func notSent(cause error) error {
	return fmt.Errorf("%w: %w", ErrNotSent, cause)
}

func result(f frame) ([]byte, error) {
	if f.typ == frameAnswer {
		return f.payload, nil
	}
	remote, err := decodeFailure(f.payload)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoAnswer, err)
	}
	return nil, remote
}

// expect registers a call, unless the link takes no more.
func (l *link) expect() (id uint64, answer <-chan frame, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.retired || l.ended() {
		return 0, nil, false
	}
	l.nextID++
	ch := make(chan frame, 1)
	l.waiting[l.nextID] = ch
	return l.nextID, ch, true
}

// forget ends a call; the last one ends a retired link.
func (l *link) forget(id uint64) {
	l.mu.Lock()
	delete(l.waiting, id)
	last := l.retired && len(l.waiting) == 0
	l.mu.Unlock()
	if last {
		l.end(errRetired)
	}
}

// retire makes the link take no more calls and end with the last in progress.
func (l *link) retire() {
	l.mu.Lock()
	l.retired = true
	last := len(l.waiting) == 0
	l.mu.Unlock()
	if last {
		l.end(errRetired)
	}
}

// usable reports whether the link takes calls.
func (l *link) usable() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.retired && !l.ended()
}

// readLoop hands answers to the calls that wait for them.
func (l *link) readLoop() {
	r := bufio.NewReaderSize(l.c, frameBufferBytes)
	for {
		f, err := readFrame(r, l.c.t.cfg.MaxFrameBytes)
		if err == nil {
			l.c.traffic().contact()
			err = l.receive(f)
		}
		if err != nil {
			l.end(err)
			return
		}
	}
}

func (l *link) receive(f frame) error {
	switch f.typ {
	case frameAnswer, frameFailure:
		l.mu.Lock()
		answer := l.waiting[f.id]
		delete(l.waiting, f.id) // a second answer has nobody
		l.mu.Unlock()
		if answer != nil { // else the caller waits no longer
			answer <- f
		}
	case frameGoAway:
		l.retire()
	case framePing:
		l.offer(newOutgoing(appendFrame(nil, framePong, f.id, 0)))
	case framePong:
		l.answered(f.id)
		return l.pong(f.id)
	case frameArrived:
		return l.arrived(f.id)
	default:
		return fmt.Errorf("%w: frame of type %d from the answering side", errMalformed, f.typ)
	}
	return nil
}

// arrived takes in how many bytes of frames the other end has received.
func (l *link) arrived(bytes uint64) error {
	if l.out == nil {
		return fmt.Errorf("%w: a report of what has arrived over an urgent connection", errMalformed)
	}
	more, err := l.out.tell(bytes, l.c.age())
	if more {
		l.c.move()
	}
	return err
}

// pingLoop writes the link's frames, and a ping at intervals.
func (l *link) pingLoop() {
	l.timer = time.NewTimer(l.c.t.limits.pingEvery)
	defer l.timer.Stop()
	l.due = time.Now().Add(l.c.t.limits.pingEvery)
	l.writeLoop(l.timer.C, l.beat)
}

// beatSoon is beat where the next tick is near. Other frames are about to leave, and the
// ping with them: to wake an idle process by a timer costs more than a ping.
func (l *link) beatSoon() (*outgoing, error) {
	if time.Until(l.due) > l.c.t.limits.pingEvery/10 {
		return nil, nil
	}
	return l.beat()
}

// beat decides on each tick whether to ping. A peer that sent not one byte for
// many ticks after a ping is dead, or as good as dead: TCP alone would keep its
// callers waiting for many minutes. Ticks are counted, not time: after a pause of
// this process, the answers that came meanwhile are read before the next tick. Over
// a bulk connection on a narrow network the answer may take longer than that, behind
// what was sent before; what the peer tells of that meanwhile are signs of life too. There,
// no ping is sent while something is sent and received anyway: nobody looks at its round
// trip. While it is only received, a long answer for example, the acceptor needs the pings:
// it closes a connection from which nothing comes.
func (l *link) beat() (*outgoing, error) {
	l.timer.Reset(l.c.t.limits.pingEvery)
	l.due = time.Now().Add(l.c.t.limits.pingEvery)
	received := l.c.received.Load()
	heard := received != l.received
	l.received = received
	var wrote bool
	if l.out != nil {
		total := l.out.total()
		wrote = total != l.written
		l.written = total
	}
	switch {
	case heard:
		l.pinged, l.silent = false, 0
		if wrote {
			return nil, nil
		}
	case l.pinged:
		if l.silent++; l.silent >= l.c.t.limits.deadPings {
			return nil, errPeerDead
		}
		return nil, nil
	}
	l.ping++
	l.pinged = true
	l.pingSent.Store(&sentPing{l.ping, time.Now(), l.written})
	o := newOutgoing(appendFrame(nil, framePing, l.ping, 0))
	o.still = true
	return o, nil
}

// pong takes in the answer to the newest ping. Over an urgent connection it measures the
// round trip. Over a bulk one it shows that all that was written before the ping has
// arrived: the peer does not report less than tellBytes otherwise.
func (l *link) pong(number uint64) error {
	sent := l.pingSent.Load()
	if sent == nil || sent.number != number {
		return nil
	}
	if l.out != nil {
		return l.arrived(sent.behind)
	}
	l.c.traffic().roundTrip.Store(int64(time.Since(sent.at)))
	return nil
}
