package httpapi

import (
	"container/list"
	"net"
	"net/http"
	"sync"
	"time"
)

// connLimit bounds the number of connections that are served. A connection over
// the limit takes the place of the one idle for longest; while none is idle it
// waits, and the others in the kernel's queue behind it. So any number of idle
// connections can't keep an active client out. A connection that has not sent a
// request yet is idle too.
//
// No handler can hijack a connection: response offers none. So each one ends with
// StateClosed, which is when it gives its slot back.
type connLimit struct {
	// slots holds a token per connection, until its goroutine has ended.
	slots chan struct{}

	// mu guards the fields below.
	mu sync.Mutex
	// wanted is how many connections wait for one to become idle.
	wanted int
	// idle holds what waits for its next request, fresh what waits for its first
	// one, each an idleConn, the one that waits for longest first; elements finds them.
	idle, fresh *list.List
	elements    map[net.Conn]*list.Element
}

// idleConn is a connection that waits for a request.
type idleConn struct {
	net.Conn
	since time.Time
	list  *list.List // that it is in
}

// activeGap is how long a connection may wait for a request and still be taken for
// an active client's: a second.
const activeGap = time.Second

// newConnLimit returns a connLimit of n connections.
func newConnLimit(n int) *connLimit {
	return &connLimit{
		slots:    make(chan struct{}, n),
		idle:     list.New(),
		fresh:    list.New(),
		elements: make(map[net.Conn]*list.Element),
	}
}

// open returns the number of connections that are served.
func (c *connLimit) open() int { return len(c.slots) }

// wait returns when the goroutines of all connections have ended. The
// listeners must be closed.
func (c *connLimit) wait() {
	for range cap(c.slots) {
		c.slots <- struct{}{}
	}
	for range cap(c.slots) {
		<-c.slots
	}
}

// acquire waits for a slot, and makes room where a connection is idle. It
// returns false, without a slot, when done is closed first.
func (c *connLimit) acquire(done <-chan struct{}) bool {
	select {
	case c.slots <- struct{}{}:
		return true
	default:
	}
	c.requestSlot()
	defer c.withdrawRequest()
	select {
	case c.slots <- struct{}{}:
		return true
	case <-done:
		return false
	}
}

// requestSlot closes the connection idle for longest, or has the next one that
// becomes idle closed. Its slot is free when its goroutine has noticed.
func (c *connLimit) requestSlot() {
	c.mu.Lock()
	victim := c.longestIdleLocked()
	if victim == nil {
		c.wanted++
		c.mu.Unlock()
		return
	}
	c.forgetLocked(victim.Conn)
	c.mu.Unlock()
	closeQuietly(victim.Conn)
}

// longestIdleLocked returns the connection whose place a new one takes, nil if none
// is idle. It is the one that waits for longest. Where all have waited for less
// than activeGap, it is one that never sent a request: a burst of new connections
// must not close those of active clients.
func (c *connLimit) longestIdleLocked() *idleConn {
	idle, fresh := front(c.idle), front(c.fresh)
	switch {
	case idle == nil:
		return fresh
	case fresh == nil:
		return idle
	case idle.since.Before(fresh.since) && time.Since(idle.since) >= activeGap:
		return idle
	}
	return fresh
}

// front returns the first of a list of idleConns, nil if it is empty.
func front(l *list.List) *idleConn {
	if e := l.Front(); e != nil {
		return e.Value.(*idleConn)
	}
	return nil
}

// forgetLocked takes a connection off the list that it is in, if any.
func (c *connLimit) forgetLocked(conn net.Conn) {
	if e, ok := c.elements[conn]; ok {
		e.Value.(*idleConn).list.Remove(e)
		delete(c.elements, conn)
	}
}

// closeFresh closes the connections that have sent no request yet.
func (c *connLimit) closeFresh() {
	c.mu.Lock()
	var conns []net.Conn
	for conn := front(c.fresh); conn != nil; conn = front(c.fresh) {
		c.forgetLocked(conn.Conn)
		conns = append(conns, conn.Conn)
	}
	c.mu.Unlock()
	for _, conn := range conns {
		closeQuietly(conn)
	}
}

// waitsLocked puts a connection that waits for a request behind those on l.
func (c *connLimit) waitsLocked(conn net.Conn, l *list.List) {
	c.elements[conn] = l.PushBack(&idleConn{conn, time.Now(), l})
}

// withdrawRequest forgets a request that was met by a connection's own end.
func (c *connLimit) withdrawRequest() {
	c.mu.Lock()
	c.wanted = max(0, c.wanted-1)
	c.mu.Unlock()
}

// stateChanged follows a connection's life; it is an http.Server's ConnState hook.
func (c *connLimit) stateChanged(conn net.Conn, state http.ConnState) {
	c.mu.Lock()
	c.forgetLocked(conn)
	evict := state == http.StateIdle && c.wanted > 0
	switch {
	case evict:
		c.wanted--
	case state == http.StateIdle:
		c.waitsLocked(conn, c.idle)
	case state == http.StateNew:
		c.waitsLocked(conn, c.fresh)
	}
	c.mu.Unlock()
	if evict {
		closeQuietly(conn)
	}
	if state == http.StateClosed {
		<-c.slots
	}
}

// closeQuietly closes a connection of no further use: its client sees the end
// of it, and there is nobody to tell an error. TLS says no goodbye: that could
// wait for a client that takes nothing.
func closeQuietly(conn net.Conn) {
	if secure, ok := conn.(interface{ NetConn() net.Conn }); ok {
		conn = secure.NetConn()
	}
	_ = conn.Close()
}

// listen returns l with c's limit on it.
func (c *connLimit) listen(l net.Listener) net.Listener {
	return &limitedListener{Listener: l, conns: c, done: make(chan struct{})}
}

// limitedListener hands out a connection when its connLimit has a slot for it.
type limitedListener struct {
	net.Listener
	conns     *connLimit
	closeOnce sync.Once
	done      chan struct{} // closed by Close
}

// Accept waits for a connection and for a slot.
func (l *limitedListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	if !l.conns.acquire(l.done) {
		closeQuietly(conn)
		return nil, net.ErrClosed
	}
	return conn, nil
}

// Close closes the listener below, and ends an Accept that waits for a slot.
func (l *limitedListener) Close() error {
	l.closeOnce.Do(func() { close(l.done) })
	return l.Listener.Close()
}
