package client

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
)

// heardConn is a connection that remembers the first bytes that it received. They show
// which protocol an endpoint speaks. The error of net/http does not: for a server that
// speaks first, it depends on whether the request was already written.
type heardConn struct {
	net.Conn
	first atomic.Pointer[string] // nil until bytes were received
}

// dialHeard makes the connections of a client.
func dialHeard(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return &heardConn{Conn: conn}, nil
}

// Read implements net.Conn. It is called by one goroutine at a time.
func (c *heardConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 && c.first.Load() == nil {
		first := string(b[:min(n, maxForeignText)])
		c.first.Store(&first)
	}
	return n, err
}

// foreignSpeech returns an error if the first bytes from conn, which is not encrypted, are
// not HTTP; otherwise nil.
func foreignSpeech(conn net.Conn) error {
	c, plain := conn.(*heardConn)
	if !plain {
		return nil
	}
	const http = "HTTP/"
	first := c.first.Load()
	if first == nil || strings.HasPrefix(*first, http[:min(len(http), len(*first))]) {
		return nil
	}
	return fmt.Errorf("it answered %q; %s", foreignText([]byte(*first)), noAPIHint)
}

// heardNothing reports whether nothing was received from conn, which is not encrypted.
func heardNothing(conn net.Conn) bool {
	c, plain := conn.(*heardConn)
	return plain && c.first.Load() == nil
}
