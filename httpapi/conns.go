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

// connLimit bounds the number of connections that are served. A connection over
// the limit waits, and the others in the kernel's queue behind it, until room is
// made for it. So no number of idle or silent connections keeps an active client
// out. Room is made by one of these, and by no client in the middle of a request:
//
//   - a connection that has waited for a request for activeGap is closed, the one that
//     waits for longest first;
//   - where no connection waits for its first request, the next answer tells its
//     client that the connection closes;
//   - where no place became free for pressedGap, a connection is closed that has not
//     sent a request for as long, and where there is none, one that is idle for as long.
//
// No handler can hijack a connection: response offers none. So each one ends with
// StateClosed, which is when it gives its slot back.
type connLimit struct {
	// slots holds a token per connection, until its goroutine has ended.
	slots chan struct{}
	// wanted says that an answer shall close its connection.
	wanted atomic.Bool

	// mu guards the fields below.
	mu      sync.Mutex
	waiting int // connections that wait for a slot
	// lastFree is when a slot was free, or became free without help, last.
	lastFree time.Time
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
	told  time.Time  // when its read was ended; guarded by connLimit.mu
}

const (
	// activeGap is how long a connection may wait for a request and still be taken
	// for an active client's.
	activeGap = time.Second
	// pressedGap takes its place when no slot becomes free for as long. It is also
	// the longest until a connection that waits looks for room again.
	pressedGap = 100 * time.Millisecond
	// mostCandidates is how many connections are looked at for room at a time.
	mostCandidates = 64
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
	for range cap(c.slots) {
		c.slots <- struct{}{}
	}
	for range cap(c.slots) {
		<-c.slots
	}
}

// acquire waits for a slot, and has room made for it. It returns false, without a
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
	c.waits(1)
	defer c.waits(-1)
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

// waits notes that n more connections wait for a slot.
func (c *connLimit) waits(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.waiting += n; c.waiting == 0 {
		c.wanted.Store(false)
	}
}

// makeRoom ends the connection that gives way to one that waits, or has an answer
// close its connection. The slot is free when the connection's
// goroutine has noticed. It returns when to ask again.
func (c *connLimit) makeRoom() (again time.Duration) {
	candidates, again, anyFresh := c.candidates()
	for _, v := range candidates {
		// What has come is a request that its goroutine has not noticed yet.
		if !hasUnread(v.Conn) && c.evict(v) {
			return again
		}
	}
	if !anyFresh {
		c.wanted.Store(true)
	}
	return again
}

// candidates returns the connections that may give way, the one that waits for
// longest first, when to ask again, and whether any waits for its first request.
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
		for e, seen := l.Front(), 0; e != nil && seen < mostCandidates; e, seen = e.Next(), seen+1 {
			v := e.Value.(*idleConn)
			gap := activeGap
			// The first request over TLS needs messages in both directions first.
			if pressed && (fresh == nil || (l == c.fresh && belowTLS(v.Conn) == v.Conn)) {
				gap = pressedGap
			}
			if now.Sub(v.since) < gap {
				break
			}
			if v.told.IsZero() || now.Sub(v.told) >= pressedGap {
				all = append(all, v)
			}
		}
	}
	slices.SortFunc(all, func(a, b *idleConn) int { return a.since.Compare(b.since) })
	return all, again, fresh != nil
}

// evict ends a connection that still waits for a request, and returns whether it
// does. It ends the read that waits and leaves the rest to the connection's
// goroutine: if that has just got a request, the request is served. A connection
// that is still there when it is asked for again is closed.
func (c *connLimit) evict(v *idleConn) bool {
	c.mu.Lock()
	e, ok := c.elements[v.Conn]
	if !ok || e.Value != v {
		c.mu.Unlock()
		return false
	}
	if v.told.IsZero() {
		v.told = time.Now()
		_ = v.SetReadDeadline(v.told) // a connection that is closed has gone anyway
		c.mu.Unlock()
		return true
	}
	c.forgetLocked(v.Conn)
	c.mu.Unlock()
	closeQuietly(v.Conn)
	return true
}

// giveWay says whether the answer that begins now shall close its connection, for
// one that waits.
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

// forgetLocked takes a connection off the list that it is in, and returns what was
// known of it, nil if it is in none.
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

// waitsLocked puts a connection that waits for a request behind those on l.
func (c *connLimit) waitsLocked(conn net.Conn, l *list.List) {
	c.elements[conn] = l.PushBack(&idleConn{Conn: conn, since: time.Now(), list: l})
}

// stateChanged follows a connection's life; it is an http.Server's ConnState hook.
func (c *connLimit) stateChanged(conn net.Conn, state http.ConnState) {
	c.mu.Lock()
	v := c.forgetLocked(conn)
	switch state {
	case http.StateIdle:
		c.waitsLocked(conn, c.idle)
	case http.StateNew:
		c.waitsLocked(conn, c.fresh)
	case http.StateActive:
		if v != nil && !v.told.IsZero() {
			// Its request came first. net/http has no deadline here either.
			_ = conn.SetReadDeadline(time.Time{})
		}
		if c.waiting > 0 && v != nil && v.list == c.fresh && c.fresh.Len() == 0 {
			c.wanted.Store(true) // no connection is left that may turn out to be silent
		}
	}
	if state == http.StateClosed && (v == nil || v.told.IsZero()) {
		c.lastFree = time.Now()
	}
	c.mu.Unlock()
	if state == http.StateClosed {
		<-c.slots
	}
}

// closeQuietly closes a connection of no further use: its client sees the end
// of it, and there is nobody to tell an error. TLS says no goodbye: that could
// wait for a client that takes nothing.
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
