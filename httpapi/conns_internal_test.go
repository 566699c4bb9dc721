package httpapi

import (
	"errors"
	"net"
	"net/http"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"
)

// mustPair returns both ends of a connection over TCP.
func mustPair(t *testing.T) (client, server net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if client, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	if server, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	return client, server
}

// age makes a connection look as if it had waited for a request for a long time.
func (c *connLimit) age(conn net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.elements[conn].Value.(*idleConn).since = time.Now().Add(-time.Hour)
}

// TestConnLimit_UnreadIsNoVictim checks that a connection with a received request is not
// closed, although net/http has not read the request yet.
func TestConnLimit_UnreadIsNoVictim(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux tells what has come")
	}
	for _, state := range []http.ConnState{http.StateNew, http.StateIdle} {
		c := newConnLimit(1)
		client, server := mustPair(t)
		c.stateChanged(server, state)
		c.age(server)
		if _, err := client.Write([]byte("GET")); err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(10 * time.Second); !hasUnread(server) && time.Now().Before(deadline); {
			runtime.Gosched()
		}
		c.makeRoom()
		got := make([]byte, 3)
		if _, err := server.Read(got); err != nil || string(got) != "GET" {
			t.Errorf("%v: read %q, %v", state, got, err)
		}
		if hasUnread(server) {
			t.Errorf("%v: there is more to read", state)
		}
		c.makeRoom()
		if _, err := server.Read(got); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%v: a silent connection was not ended: %v", state, err)
		}
	}
}

// TestConnLimit_RequestComesFirst checks that a connection stays usable if its read was
// ended, but its goroutine had a request already.
func TestConnLimit_RequestComesFirst(t *testing.T) {
	c := newConnLimit(1)
	client, server := mustPair(t)
	c.stateChanged(server, http.StateNew)
	c.age(server)
	c.makeRoom()
	c.stateChanged(server, http.StateActive)
	if _, err := client.Write([]byte("body")); err != nil {
		t.Fatal(err)
	}
	if n, err := server.Read(make([]byte, 4)); n != 4 {
		t.Errorf("read of the body: %d bytes, %v", n, err)
	}
	c.makeRoom() // no connection may be closed
	if !c.giveWay() || c.giveWay() {
		t.Error("want one answer to close its connection")
	}
}

// TestConnLimit_SilentIsClosed checks that a connection is closed if its goroutine does not
// notice that its read was ended.
func TestConnLimit_SilentIsClosed(t *testing.T) {
	c := newConnLimit(1)
	client, server := mustPair(t)
	c.stateChanged(server, http.StateNew)
	c.age(server)
	c.makeRoom()
	c.elements[server].Value.(*idleConn).ended = time.Now().Add(-time.Hour)
	c.makeRoom()
	if _, err := client.Read(make([]byte, 1)); err == nil {
		t.Error("the connection is still open")
	}
	if len(c.elements) > 0 {
		t.Error("the connection still waits for a request")
	}
}

// TestConnLimit_YoungIsNoVictim checks that a new connection and one of an active client
// are not closed.
func TestConnLimit_YoungIsNoVictim(t *testing.T) {
	c := newConnLimit(2)
	_, fresh := mustPair(t)
	_, idle := mustPair(t)
	c.stateChanged(fresh, http.StateNew)
	c.stateChanged(idle, http.StateIdle)
	// A time in the future, so that a pause of the test does not make them old.
	for _, conn := range []net.Conn{fresh, idle} {
		c.elements[conn].Value.(*idleConn).since = time.Now().Add(time.Hour)
	}
	c.makeRoom()
	for conn, e := range c.elements {
		if !e.Value.(*idleConn).ended.IsZero() {
			t.Errorf("%v gives way", conn.LocalAddr())
		}
	}
	if c.giveWay() {
		t.Error("an answer closes its connection, although a new connection may be silent")
	}
}

// TestConnLimit_WaitTwice checks that two calls of wait beside each other both return.
func TestConnLimit_WaitTwice(t *testing.T) {
	c := newConnLimit(1 << 20)
	var calls sync.WaitGroup
	for range 2 {
		calls.Go(c.wait)
	}
	calls.Wait()
}
