package httpapi

import (
	"container/list"
	"net"
	"net/http"
	"sync"
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
	// idle holds the net.Conns that wait for their first or next request, the one
	// idle for longest first; elements finds them.
	idle     *list.List
	elements map[net.Conn]*list.Element
}

// newConnLimit returns a connLimit of n connections.
func newConnLimit(n int) *connLimit {
	return &connLimit{
		slots:    make(chan struct{}, n),
		idle:     list.New(),
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
	front := c.idle.Front()
	if front == nil {
		c.wanted++
		c.mu.Unlock()
		return
	}
	conn := c.idle.Remove(front).(net.Conn)
	delete(c.elements, conn)
	c.mu.Unlock()
	closeQuietly(conn)
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
	if e, ok := c.elements[conn]; ok {
		c.idle.Remove(e)
		delete(c.elements, conn)
	}
	evict := state == http.StateIdle && c.wanted > 0
	switch {
	case evict:
		c.wanted--
	case state == http.StateIdle, state == http.StateNew:
		c.elements[conn] = c.idle.PushBack(conn)
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
