package sim

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// window is the maximum number of bytes in flight in one direction of a connection, before
// and behind a narrow link together.
const window = 1 << 20

// segment is a part of the written bytes, or the end of the stream.
type segment struct {
	data []byte
	at   time.Time // when it arrives, if nothing blocks it then
	end  error     // the reader's error instead of data: io.EOF or a reset
}

// pipe is one direction of a connection.
type pipe struct {
	net   *network
	route route

	// readable and writable have one slot each, which is filled when something may have
	// changed for the reader or the writer. Each direction has both.
	readable, writable chan struct{}

	mu       sync.Mutex
	held     []segment // guarded by mu; segments that wait before a narrow link
	queue    []segment // guarded by mu; segments behind the link, which arrive at their times
	buffered int       // guarded by mu; bytes in both
	last     time.Time // guarded by mu; arrival of the newest segment
	broken   error     // guarded by mu; both ends get it at once
	void     bool      // guarded by mu; the reader has closed its end
}

func newPipe(n *network, r route) *pipe {
	p := &pipe{net: n, route: r, readable: make(chan struct{}, 1), writable: make(chan struct{}, 1)}
	n.mu.Lock()
	n.pipes[p] = struct{}{}
	n.mu.Unlock()
	return p
}

func poke(slot chan struct{}) {
	select {
	case slot <- struct{}{}:
	default:
	}
}

func (p *pipe) wake() {
	poke(p.readable)
	poke(p.writable)
}

// release sends the segments that waited while the route was blocked: they arrive with the
// sender's next retransmission.
func (p *pipe) release() {
	p.mu.Lock()
	delay, _ := p.net.travel(p.route)
	first := time.Now().Add(delay)
	for i := range p.queue {
		if p.queue[i].at.Before(first) {
			p.queue[i].at = first
		}
	}
	if p.last.Before(first) {
		p.last = first
	}
	p.mu.Unlock()
	p.wake()
}

// fail ends this direction for both ends at once.
func (p *pipe) fail(err error) {
	p.mu.Lock()
	if p.broken == nil {
		p.broken = err
	}
	p.mu.Unlock()
	p.wake()
}

// close gives the reader err after all bytes that were written before. If drop is set,
// those bytes are lost.
func (p *pipe) close(err error, drop bool) {
	delay, _ := p.net.travel(p.route)
	p.mu.Lock()
	if drop {
		p.held, p.queue, p.buffered = nil, nil, 0
	}
	enlist := p.put(segment{end: err}, delay, false)
	p.mu.Unlock()
	if enlist {
		p.net.wireOf(p.route).enlist(p)
	}
	p.wake()
}

// put sends s behind earlier segments. enlist reports whether the pipe must wait for its
// turns on a narrow link from now on. The caller holds p.mu.
func (p *pipe) put(s segment, delay time.Duration, narrow bool) (enlist bool) {
	p.buffered += len(s.data)
	if len(p.held) == 0 && !narrow {
		p.push(s, delay)
		return false
	}
	p.held = append(p.held, s)
	return len(p.held) == 1
}

// unsent returns the number of bytes that wait before a narrow link.
func (p *pipe) unsent() (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.held {
		n += len(s.data)
	}
	return n
}

// leave lets n bytes pass the link, and the end of the pipe if that is next. It reports
// whether more bytes wait.
func (p *pipe) leave(n int) bool {
	delay, _ := p.net.travel(p.route)
	p.mu.Lock()
	defer p.mu.Unlock()
	defer poke(p.readable)
	for len(p.held) > 0 {
		s := p.held[0]
		if len(s.data) > n {
			if n > 0 {
				p.push(segment{data: s.data[:n]}, delay)
				p.held[0].data = s.data[n:]
			}
			return true
		}
		n -= len(s.data)
		p.push(s, delay)
		p.held = p.held[1:]
	}
	return false
}

// push queues s to arrive. Its caller holds p.mu.
func (p *pipe) push(s segment, delay time.Duration) {
	if s.at = time.Now().Add(delay); s.at.Before(p.last) {
		s.at = p.last
	}
	p.last = s.at
	p.queue = append(p.queue, s)
}

// discard drops all bytes, because the reader has closed its end.
func (p *pipe) discard() {
	p.mu.Lock()
	p.void, p.held, p.queue, p.buffered = true, nil, nil, 0
	p.mu.Unlock()
	p.net.mu.Lock()
	delete(p.net.pipes, p)
	p.net.mu.Unlock()
	p.wake()
}

// take returns bytes that have arrived, or the time that the reader must wait for them (0:
// until woken).
func (p *pipe) take(b []byte) (n int, wait time.Duration, err error) {
	blocked := p.net.blocked(p.route)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.broken != nil {
		return 0, 0, p.broken
	}
	if len(p.queue) == 0 || blocked {
		return 0, 0, nil
	}
	s := &p.queue[0]
	if wait := time.Until(s.at); wait > 0 {
		return 0, wait, nil
	}
	if s.end != nil {
		return 0, 0, s.end
	}
	n = copy(b, s.data)
	s.data = s.data[n:]
	p.buffered -= n
	if len(s.data) == 0 {
		p.queue = p.queue[1:]
	}
	poke(p.writable)
	return n, 0, nil
}

// offer queues b if there is room. A segment that resets its connection says so.
func (p *pipe) offer(b []byte) (done, reset bool, err error) {
	delay, reset := p.net.travel(p.route)
	narrow, enlist := p.net.rate(p.route) > 0, false
	defer func() {
		if enlist {
			p.net.wireOf(p.route).enlist(p)
		}
	}()
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.broken != nil:
		return false, false, p.broken
	case p.void:
		return true, false, nil // sent, and lost
	case p.buffered >= window:
		return false, false, nil
	}
	enlist = p.put(segment{data: append([]byte(nil), b...)}, delay, narrow)
	poke(p.readable)
	return true, reset, nil
}

// conn is one end of a connection. Reads, and writes, must not overlap each other.
type conn struct {
	owner         *endpoint
	in, out       *pipe
	local, remote addr
	once          sync.Once
	closed        chan struct{}

	mu                  sync.Mutex
	readLimit, writeEnd time.Time // guarded by mu; deadlines
}

var _ net.Conn = (*conn)(nil)

func (c *conn) Read(b []byte) (int, error) {
	for {
		if c.isClosed() {
			return 0, c.error("read", net.ErrClosed)
		}
		limit := c.limit(&c.readLimit)
		if expired(limit) {
			return 0, c.error("read", os.ErrDeadlineExceeded)
		}
		n, wait, err := c.in.take(b)
		if err == io.EOF {
			return 0, err
		}
		if err != nil {
			return 0, c.error("read", err)
		}
		if n > 0 || len(b) == 0 {
			return n, nil
		}
		c.wait(c.in.readable, wait, limit)
	}
}

func (c *conn) Write(b []byte) (int, error) {
	for {
		if c.isClosed() {
			return 0, c.error("write", net.ErrClosed)
		}
		limit := c.limit(&c.writeEnd)
		if expired(limit) {
			return 0, c.error("write", os.ErrDeadlineExceeded)
		}
		done, reset, err := c.out.offer(b)
		if err != nil {
			return 0, c.error("write", err)
		}
		if reset {
			c.owner.net.trace.add("%s-%s: connection reset", c.local, c.remote)
			c.in.fail(syscall.ECONNRESET)
			c.out.fail(syscall.ECONNRESET)
		}
		if done {
			return len(b), nil
		}
		c.wait(c.out.writable, 0, limit)
	}
}

// wait returns when something may have changed.
func (c *conn) wait(slot <-chan struct{}, d time.Duration, limit time.Time) {
	if !limit.IsZero() {
		if left := time.Until(limit); d == 0 || left < d {
			d = left
		}
	}
	if d == 0 && limit.IsZero() {
		select {
		case <-slot:
		case <-c.closed:
		}
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-slot:
	case <-timer.C:
	case <-c.closed:
	}
}

func expired(limit time.Time) bool { return !limit.IsZero() && !time.Now().Before(limit) }

func (c *conn) error(op string, err error) error {
	return &net.OpError{Op: op, Net: "sim", Source: c.local, Addr: c.remote, Err: err}
}

func (c *conn) isClosed() bool {
	select {
	case <-c.closed:
		return true
	default:
		return false
	}
}

// Close implements net.Conn: the other end gets all written bytes, and io.EOF.
func (c *conn) Close() error {
	c.once.Do(func() {
		c.owner.forget(c)
		close(c.closed)
		c.out.close(io.EOF, false)
		c.in.discard()
	})
	return nil
}

// abandon is Close for a process that has died.
func (c *conn) abandon(powerFails bool) {
	c.once.Do(func() {
		close(c.closed)
		c.out.close(syscall.ECONNRESET, powerFails)
		c.in.discard()
	})
}

func (c *conn) limit(field *time.Time) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return *field
}

func (c *conn) setLimit(field *time.Time, t time.Time, slot chan struct{}) error {
	c.mu.Lock()
	*field = t
	c.mu.Unlock()
	poke(slot)
	return nil
}

func (c *conn) SetReadDeadline(t time.Time) error {
	return c.setLimit(&c.readLimit, t, c.in.readable)
}

func (c *conn) SetWriteDeadline(t time.Time) error {
	return c.setLimit(&c.writeEnd, t, c.out.writable)
}

func (c *conn) SetDeadline(t time.Time) error {
	_ = c.SetReadDeadline(t)
	return c.SetWriteDeadline(t)
}

func (c *conn) LocalAddr() net.Addr  { return c.local }
func (c *conn) RemoteAddr() net.Addr { return c.remote }
