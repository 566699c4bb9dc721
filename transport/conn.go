package transport

import (
	"context"
	"crypto/tls"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// keepAlive finds dead peers on connections that are silent for long.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3}

// dialTCP is the default of Config.Dial.
func dialTCP(ctx context.Context, addr string) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "tcp", addr)
}

// conn is a connection to a peer: counted, limited, closed with the transport,
// and never stuck in a write to a peer that does not read.
type conn struct {
	net.Conn           // what is read from and written to; secure may replace it
	raw       net.Conn // what Conn is, or is built on; never changes
	t         *Transport
	received  atomic.Uint64 // bytes
	made      time.Time
	moved     atomic.Int64 // when something of what is sent moved last; nanoseconds since made
	of        atomic.Pointer[traffic]
	closeOnce sync.Once

	// still belongs to the session's write loop. It is true while only a ping is written,
	// which does not count as movement.
	still bool

	// mu guards writeLimit, the deadline that the connection's user set.
	mu         sync.Mutex
	writeLimit time.Time

	// The fields below are set once, by open, before others can see the
	// connection's retire being called; t.mu guards opened.
	opened      bool
	kind        streamKind
	local, peer Identity // as told in the handshake
	rpc         rpcEnd   // nil for a snapshot
	aimed       bool     // the dialer said whom it wanted
}

// rpcEnd is this node's end of a connection.
type rpcEnd interface {
	retire()                        // take no more requests, and end with the last in progress
	lives(ctx context.Context) bool // report whether the other end answers a ping
}

// newConn is the one place where a network connection, accepted or dialed,
// becomes the transport's: what wraps all connections belongs here. It fails
// when the transport is closed or has its fill, and closes nc then.
func (t *Transport) newConn(nc net.Conn) (*conn, error) {
	if tc, ok := nc.(*net.TCPConn); ok {
		if err := tc.SetKeepAliveConfig(keepAlive); err != nil {
			nc.Close()
			return nil, err
		}
	}
	c := &conn{Conn: rawTCP(nc), raw: nc, t: t, made: time.Now()}
	c.of.Store(new(traffic)) // until it is known whose it is
	t.mu.Lock()
	closed, full := t.closed || t.retired, len(t.conns) >= t.limits.conns
	if !closed && !full {
		t.conns[c] = struct{}{}
	}
	t.mu.Unlock()
	switch {
	case closed:
		nc.Close()
		return nil, ErrClosed
	case full:
		nc.Close()
		return nil, errTooManyConns
	}
	return c, nil
}

// open records the outcome of the handshake. If the cluster id changed while
// the handshake continued, SetCluster did not see this connection: it is retired
// here. If two processes with one id shook hands at the same time, neither claim
// saw the other: the newer one stays.
func (c *conn) open(kind streamKind, local, peer Identity, rpc rpcEnd) {
	c.t.mu.Lock()
	c.kind, c.local, c.peer, c.rpc = kind, local, peer, rpc
	c.opened = true
	if p := c.t.peers[peer.ID]; p != nil {
		c.of.Store(&p.traffic)
	}
	outdated := c.t.identity.Cluster != local.Cluster
	rivals := c.t.rivalsLocked(peer)
	c.t.mu.Unlock()
	for _, r := range rivals {
		if r.peer.Generation < peer.Generation {
			r.Close()
		} else {
			c.Close()
		}
	}
	if outdated {
		c.retire()
	}
}

// retire ends the use of a connection that was opened under another cluster id.
func (c *conn) retire() {
	if c.rpc != nil {
		c.rpc.retire()
		return
	}
	c.Close()
}

// Read reads and counts.
func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.received.Add(uint64(n))
	c.t.counts.bytesIn.Add(uint64(n))
	c.traffic().in.Add(uint64(n))
	return n, err
}

// traffic returns the counters of the connection's peer.
func (c *conn) traffic() *traffic { return c.of.Load() }

// wrote counts n bytes that left.
func (c *conn) wrote(n int64) {
	if n > 0 && !c.still {
		c.move()
	}
	c.t.counts.bytesOut.Add(uint64(n))
	c.traffic().out.Add(uint64(n))
}

// age returns the time since the connection was made. No clock that is set changes it.
func (c *conn) age() time.Duration { return time.Since(c.made) }

// move records that something of what is sent has moved.
func (c *conn) move() { c.moved.Store(int64(c.age())) }

// movedAt returns the connection's age when something of what is sent moved last.
func (c *conn) movedAt() time.Duration { return time.Duration(c.moved.Load()) }

// Write writes p in pieces, each of which has a limited time to leave: a write
// of any size ends soon after the peer stopped reading. Write returns the
// number of bytes that left.
func (c *conn) Write(p []byte) (int, error) {
	written := 0
	for {
		chunk := p[written:min(len(p), written+writeChunkBytes)]
		if err := c.Conn.SetWriteDeadline(c.writeDeadline()); err != nil {
			return written, err
		}
		n, err := c.Conn.Write(chunk)
		written += n
		c.wrote(int64(n))
		if err != nil || written == len(p) {
			return written, err
		}
	}
}

// vectored reports whether writeVector writes several buffers by one system call.
func (c *conn) vectored() bool {
	_, tcp := c.raw.(*net.TCPConn)
	_, secured := c.Conn.(*tls.Conn)
	return tcp && !secured
}

// writeVector is Write for several buffers, without copying them into one. It
// does not change parts.
func (c *conn) writeVector(parts [][]byte) error {
	for len(parts) > 0 {
		var chunk net.Buffers
		chunk, parts = takeChunk(parts, writeChunkBytes)
		if err := c.Conn.SetWriteDeadline(c.writeDeadline()); err != nil {
			return err
		}
		n, err := chunk.WriteTo(c.raw)
		c.wrote(n)
		if err != nil {
			return err
		}
	}
	return nil
}

// takeChunk splits parts after at most limit bytes. It changes no slice in place.
func takeChunk(parts [][]byte, limit int) (chunk, rest [][]byte) {
	for i, part := range parts {
		if len(part) > limit {
			if limit > 0 {
				chunk = append(chunk, part[:limit])
			}
			return chunk, append([][]byte{part[limit:]}, parts[i+1:]...)
		}
		limit -= len(part)
		chunk = append(chunk, part)
	}
	return chunk, nil
}

func (c *conn) writeDeadline() time.Time {
	stall := time.Now().Add(c.t.limits.writeStall)
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.writeLimit.IsZero() && c.writeLimit.Before(stall) {
		return c.writeLimit
	}
	return stall
}

// SetDeadline sets the deadline of reads, and the latest deadline of writes.
func (c *conn) SetDeadline(deadline time.Time) error {
	if err := c.SetWriteDeadline(deadline); err != nil {
		return err
	}
	return c.SetReadDeadline(deadline)
}

// SetWriteDeadline sets the latest deadline of later writes.
func (c *conn) SetWriteDeadline(deadline time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.writeLimit = deadline
	return nil
}

// Close closes the connection once; again does nothing.
func (c *conn) Close() error {
	var err error
	c.closeOnce.Do(func() {
		c.t.mu.Lock()
		delete(c.t.conns, c)
		c.t.mu.Unlock()
		// No farewell of TLS: it could wait for a peer that does not read, and the
		// protocol knows by itself what is whole.
		err = c.raw.Close()
	})
	return err
}
