package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kvorum/kvorum/internal/testkit"
)

// TestClient_ServerSpeaksFirst shows that a server which speaks before it is asked is
// recognized as no node, also if its first bytes arrive before the request is written. A
// put's outcome stays unknown.
func TestClient_ServerSpeaksFirst(t *testing.T) {
	c, err := New(Config{Endpoints: []string{testkit.Greeter(t, "SSH-2.0-x\r\n")}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, early := range []bool{true, false} {
		ctx, parts := t.Context(), []string{"--http-addr"}
		if early { // net/http reads the greeting before it writes the request
			ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(got httptrace.GotConnInfo) {
				for !heard(got.Conn) {
					runtime.Gosched()
				}
			}})
			parts = append(parts, "SSH-2.0-x")
		}
		_, get := c.Get(ctx, "k", ReadOptions{})
		_, put := c.Put(ctx, "k", []byte("v"))
		for _, err := range []error{get, put} {
			for _, part := range parts {
				if text := fmt.Sprint(err); !strings.Contains(text, part) || strings.Contains(text, "%!") {
					t.Errorf("early: %v: got %q, want %q in it", early, text, part)
				}
			}
		}
		if strings.Contains(get.Error(), "outcome unknown") || !strings.Contains(put.Error(), "outcome unknown") {
			t.Errorf("early: %v: got %v and %v, want an unknown outcome of the put alone", early, get, put)
		}
	}
}

// heard reports whether bytes were received over a client's connection.
func heard(conn net.Conn) bool { return conn.(*heardConn).first.Load() != nil }

// TestNetReason shows that an error of the network has its reason only once.
func TestNetReason(t *testing.T) {
	refused := &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	lookup := &net.DNSError{Err: "no such host", Name: "n9"}
	for _, tc := range []struct {
		err  error
		want string
	}{
		{&url.Error{Op: http.MethodGet, URL: "http://n9", Err: refused}, "connection refused"},
		{&net.OpError{Op: "dial", Net: "tcp", Err: lookup}, "lookup n9: no such host"},
		{lookup, "lookup n9: no such host"},
	} {
		if got := netReason(tc.err); got.Error() != tc.want {
			t.Errorf("%v: got %q, want %q", tc.err, got, tc.want)
		}
	}
}

// TestWatched_BoundsReadsAlone shows that a list is ended when nothing is received for the
// time of a call, but not when its caller takes longer than that for an item.
func TestWatched_BoundsReadsAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		defer cancel(nil)
		const timeout = time.Second
		stall := time.AfterFunc(timeout, func() { cancel(&timeoutError{timeout}) })
		stall.Stop()
		r, w := io.Pipe()
		defer w.Close()
		watched := &watched{r: r, timeout: timeout, stall: stall}
		go func() {
			for range 2 {
				time.Sleep(timeout * 9 / 10)
				_, _ = w.Write([]byte("x"))
			}
			<-ctx.Done()
			w.CloseWithError(ctx.Err())
		}()
		for range 2 {
			if _, err := watched.Read(make([]byte, 1)); err != nil || ctx.Err() != nil {
				t.Fatalf("a read in time: %v, %v", err, context.Cause(ctx))
			}
			time.Sleep(3 * timeout)
		}
		if ctx.Err() != nil {
			t.Fatalf("a caller that takes its time: %v", context.Cause(ctx))
		}
		began := time.Now()
		if _, err := watched.Read(make([]byte, 1)); err == nil || !errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
			t.Errorf("nothing comes: got %v, %v", err, context.Cause(ctx))
		}
		if took := time.Since(began); took != timeout {
			t.Errorf("nothing comes: broken off after %v, want %v", took, timeout)
		}
	})
}
