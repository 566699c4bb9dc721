package client_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kvorum/kvorum/client"
	"github.com/kvorum/kvorum/kv"
)

// mustCluster returns the nodes of a cluster of three, closed with the test, and their endpoints.
func mustCluster(t *testing.T) (nodes []*node, endpoints []string) {
	t.Helper()
	var gossip []string
	for range 3 {
		gossip = append(gossip, unreachable(t))
	}
	for i := range gossip {
		n, err := openNode(fmt.Sprintf("n%d", i+1), 3, gossip[i], gossip)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := n.close(); err != nil {
				t.Error(err)
			}
		})
		nodes, endpoints = append(nodes, n), append(endpoints, n.listener.Addr().String())
	}
	for _, n := range nodes {
		if err := n.ready(); err != nil {
			t.Fatal(err)
		}
	}
	return nodes, endpoints
}

// TestWatch_EachChangeOnceAcrossNodes stops the node of a watch while another client writes, and
// then breaks the connection to the next one, before the last third is written. The watch returns each change once, in order: the
// same as a watch that only ever saw the third node.
func TestWatch_EachChangeOnceAcrossNodes(t *testing.T) {
	const writes = 300
	nodes, endpoints := mustCluster(t)
	c := mustNew(t, client.Config{Endpoints: endpoints})
	interrupted := 0
	w := mustWatch(t, c, client.WatchOptions{Span: kv.Prefix("k"), PrevItems: true, Interrupted: func(error) { interrupted++ }})
	begin := w.Revision() + 1
	written, broken := make(chan error, 1), make(chan struct{})
	go func() {
		written <- putAll(t.Context(), mustNew(t, client.Config{Endpoints: endpoints[1:]}), writes, func(i int) {
			if i == 2*writes/3 {
				<-broken
			}
		})
	}()
	var got []string
	for last := false; !last; {
		got = append(got, next(t, w))
		last = strings.HasSuffix(got[len(got)-1], "was !")
		switch len(got) {
		case writes / 3:
			if err := nodes[0].close(); err != nil { // as at SIGTERM
				t.Error(err)
			}
		case 2 * writes / 3:
			nodes[1].listener.breakAll()
			nodes[2].listener.breakAll()
			close(broken)
		}
	}
	if err := <-written; err != nil {
		t.Fatal(err)
	}
	if interrupted < 2 {
		t.Errorf("the watch was interrupted %d times, want 2 or more", interrupted)
	}
	reference := mustWatch(t, mustNew(t, client.Config{Endpoints: endpoints[2:]}), client.WatchOptions{Span: kv.Prefix("k"), PrevItems: true, From: begin})
	want(t, reference, got...)
	if len(got) < writes {
		t.Errorf("got %d changes of %d writes", len(got), writes)
	}
}

// putAll writes n values under a few keys, and then one that replaces "!", each until it is
// done. It calls before with the number of each.
func putAll(ctx context.Context, c *client.Client, n int, before func(i int)) error {
	for i := range n + 1 {
		before(i)
		value := fmt.Sprint(i)
		if i == n-1 {
			value = "!"
		}
		key := fmt.Sprintf("k%d", i%7)
		if i >= n-1 {
			key = "k-last"
		}
		for {
			_, err := c.Put(ctx, key, []byte(value))
			failed := (*client.Error)(nil)
			if err == nil {
				break
			} else if !errors.As(err, &failed) || !failed.Retryable && failed.Outcome != client.Unknown {
				return err
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	return nil
}

// breakListener is a listener whose connections can be broken. It is safe for concurrent use.
type breakListener struct {
	net.Listener
	mu    sync.Mutex
	conns []net.Conn
}

func newBreakListener(l net.Listener) *breakListener { return &breakListener{Listener: l} }

// Accept implements net.Listener.
func (l *breakListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.conns = append(l.conns, c)
	}
	return c, err
}

// breakAll breaks all connections so far.
func (l *breakListener) breakAll() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.conns {
		_ = c.(*net.TCPConn).SetLinger(0)
		_ = c.Close()
	}
	l.conns = nil
}
