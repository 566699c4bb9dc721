package httpapi

import (
	"container/list"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// connLimit limits the number of connections that are served. A connection above the limit
// waits until there is a slot for it; later ones wait in the kernel's queue. To free a
// slot, a connection is closed that is not in the middle of a request, so idle or silent
// connections can't keep an active client out:
//
//   - A connection is closed that has waited for a request for activeGap. The one with the
//     longest wait is the first.
//   - If no connection waits for its first request, the next answer tells its client that
//     its connection closes.
//   - If no slot was free for pressedGap, a connection is closed that has waited for its
//     first request for pressedGap. If no connection waits for its first request, one is
//     closed that has waited for its next request for pressedGap.
//
// No handler can hijack a connection, because response has no Hijack. So each connection
// ends with StateClosed, and gives its slot back then.
type connLimit struct {
	ending sync.Mutex // held by wait, one caller at a time

	// slots holds one token for each connection, until the connection's goroutine has
	// ended.
	slots chan struct{}
	// wanted is set if the next answer shall close its connection.
	wanted atomic.Bool

	// mu guards the fields below.
	mu      sync.Mutex
	waiting int // connections that wait for a slot
	// lastFree is the last time at which a slot was free, or became free without a closed
	// connection.
	lastFree time.Time
	// idle has the connections that wait for their next request, fresh those that wait for
	// their first one. The elements are *idleConn, that with the longest wait first;
	// elements finds them.
	idle, fresh *list.List
	elements    map[net.Conn]*list.Element
}

// idleConn is a connection that waits for a request.
type idleConn struct {
	net.Conn
	since time.Time
	list  *list.List // the one that it is in
	ended time.Time  // when makeRoom ended its read; guarded by connLimit.mu
}

const (
	// activeGap is the maximum time that the connection of an active client is expected to
	// wait for a request.
	activeGap = time.Second
	// pressedGap is the time that replaces activeGap when no slot becomes free for
	// pressedGap. It is also the maximum time after which a waiting connection tries again.
	pressedGap = 100 * time.Millisecond
	// maxCandidates is the maximum number of connections of each list that are considered
	// at a time.
	maxCandidates = 64
)

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
	c.ending.Lock() // two at a time would wait for each other's slots
	defer c.ending.Unlock()
	for range cap(c.slots) {
		c.slots <- struct{}{}
	}
	for range cap(c.slots) {
		<-c.slots
	}
}

// acquire waits for a slot, and makes room if there is none. It returns false, without a
// slot, when done is closed first.
func (c *connLimit) acquire(done <-chan struct{}) bool {
	select {
	case c.slots <- struct{}{}:
		c.mu.Lock()
		c.lastFree = time.Now()
		c.mu.Unlock()
		return true
	default:
	}
	c.addWaiting(1)
	defer c.addWaiting(-1)
	for {
		again := time.NewTimer(c.makeRoom())
		select {
		case c.slots <- struct{}{}:
			again.Stop()
			return true
		case <-again.C:
		case <-done:
			again.Stop()
			return false
		}
	}
}

// addWaiting adds n to the number of connections that wait for a slot.
func (c *connLimit) addWaiting(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.waiting += n; c.waiting == 0 {
		c.wanted.Store(false)
	}
}

// makeRoom ends a connection for one that waits, or makes the next answer close its
// connection. The slot is free once the connection's goroutine has ended. again is the time
// after which to call makeRoom again.
func (c *connLimit) makeRoom() (again time.Duration) {
	candidates, again, anyFresh := c.candidates()
	for _, v := range candidates {
		// Unread bytes are a request that the connection's goroutine has not read yet.
		if !hasUnread(v.Conn) && c.evict(v) {
			return again
		}
	}
	if !anyFresh {
		c.wanted.Store(true)
	}
	return again
}

// candidates returns the connections that may be closed, the one with the longest wait
// first. again is the time after which to ask again. anyFresh reports whether any
// connection waits for its first request.
func (c *connLimit) candidates() (all []*idleConn, again time.Duration, anyFresh bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now, again := time.Now(), pressedGap
	pressed := now.Sub(c.lastFree) >= pressedGap
	fresh := front(c.fresh)
	if fresh != nil {
		if left := pressedGap - now.Sub(fresh.since); left > 0 {
			again = min(again, left)
		}
	}
	for _, l := range []*list.List{c.idle, c.fresh} {
		for e, seen := l.Front(), 0; e != nil && seen < maxCandidates; e, seen = e.Next(), seen+1 {
			v := e.Value.(*idleConn)
			gap := activeGap
			// Before the first request over TLS, messages must pass in both directions.
			if pressed && (fresh == nil || (l == c.fresh && belowTLS(v.Conn) == v.Conn)) {
				gap = pressedGap
			}
			if now.Sub(v.since) < gap {
				break
			}
			if v.ended.IsZero() || now.Sub(v.ended) >= pressedGap {
				all = append(all, v)
			}
		}
	}
	slices.SortFunc(all, func(a, b *idleConn) int { return a.since.Compare(b.since) })
	return all, again, fresh != nil
}

// evict ends a connection if it still waits for a request, and reports whether it does. It
// ends the connection's waiting read, and the connection's goroutine does the rest: if it
// has just read a request, it serves the request. A second evict of the same connection
// closes it.
func (c *connLimit) evict(v *idleConn) bool {
	c.mu.Lock()
	e, ok := c.elements[v.Conn]
	if !ok || e.Value != v {
		c.mu.Unlock()
		return false
	}
	if v.ended.IsZero() {
		v.ended = time.Now()
		_ = v.SetReadDeadline(v.ended) // the only error is that of a closed connection
		c.mu.Unlock()
		return true
	}
	c.forgetLocked(v.Conn)
	c.mu.Unlock()
	closeQuietly(v.Conn)
	return true
}

// giveWay reports whether the answer that begins now shall close its connection, for one
// that waits.
func (c *connLimit) giveWay() bool {
	return c.wanted.Load() && c.wanted.CompareAndSwap(true, false)
}

// front returns the first of a list of idleConns, nil if it is empty.
func front(l *list.List) *idleConn {
	if e := l.Front(); e != nil {
		return e.Value.(*idleConn)
	}
	return nil
}

// forgetLocked removes a connection from its list, and returns its idleConn, nil if it is
// in no list.
func (c *connLimit) forgetLocked(conn net.Conn) *idleConn {
	e, ok := c.elements[conn]
	if !ok {
		return nil
	}
	v := e.Value.(*idleConn)
	v.list.Remove(e)
	delete(c.elements, conn)
	return v
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

// addLocked appends a connection that waits for a request to l.
func (c *connLimit) addLocked(conn net.Conn, l *list.List) {
	c.elements[conn] = l.PushBack(&idleConn{Conn: conn, since: time.Now(), list: l})
}

// stateChanged follows a connection's life; it is an http.Server's ConnState hook.
func (c *connLimit) stateChanged(conn net.Conn, state http.ConnState) {
	c.mu.Lock()
	v := c.forgetLocked(conn)
	switch state {
	case http.StateIdle:
		c.addLocked(conn, c.idle)
	case http.StateNew:
		c.addLocked(conn, c.fresh)
	case http.StateActive:
		if v != nil && !v.ended.IsZero() {
			// Its request came before the end of its read. net/http sets no deadline here
			// either.
			_ = conn.SetReadDeadline(time.Time{})
		}
		if c.waiting > 0 && v != nil && v.list == c.fresh && c.fresh.Len() == 0 {
			c.wanted.Store(true) // no connection is left that could be closed for its silence
		}
	}
	if state == http.StateClosed && (v == nil || v.ended.IsZero()) {
		c.lastFree = time.Now()
	}
	c.mu.Unlock()
	if state == http.StateClosed {
		<-c.slots
	}
}

// closeQuietly closes a connection that is not needed any more, and ignores the error. TLS
// sends no close message, because that could wait for a client that takes nothing.
func closeQuietly(conn net.Conn) {
	_ = belowTLS(conn).Close()
}

// belowTLS returns the connection that conn encrypts, or conn itself.
func belowTLS(conn net.Conn) net.Conn {
	if secure, ok := conn.(interface{ NetConn() net.Conn }); ok {
		return secure.NetConn()
	}
	return conn
}

// listen returns l with the limit c.
func (c *connLimit) listen(l net.Listener) net.Listener {
	return &limitedListener{Listener: l, conns: c, done: make(chan struct{})}
}

// limitedListener returns a connection when its connLimit has a slot for it.
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
