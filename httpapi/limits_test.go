package httpapi_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/kvorum/kvorum/httpapi"
)

// TestSmuggling sends requests whose end two servers could see in different places. The
// inner request may be refused or become part of a value, but must never be carried out.
func TestSmuggling(t *testing.T) {
	inner := "DELETE /kv/victim HTTP/1.1\r\nHost: x\r\n\r\n"
	chunk := fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(inner), inner)
	for name, headersAndBody := range map[string]string{
		"CL.TE":              fmt.Sprintf("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n%s", chunk),
		"TE.CL":              fmt.Sprintf("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n%s", chunk),
		"two lengths":        "Content-Length: 0\r\nContent-Length: 45\r\n\r\n" + inner,
		"length list":        "Content-Length: 0, 45\r\n\r\n" + inner,
		"plus sign":          "Content-Length: +0\r\n\r\n" + inner,
		"hex length":         "Content-Length: 0x0\r\n\r\n" + inner,
		"negative length":    "Content-Length: -1\r\n\r\n" + inner,
		"unknown encoding":   "Transfer-Encoding: xchunked\r\n\r\n" + inner,
		"two encodings":      "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n" + inner,
		"encoding list":      "Transfer-Encoding: gzip, chunked\r\n\r\n" + inner,
		"space before colon": "Transfer-Encoding : chunked\r\n\r\n" + inner,
		"folded header":      "Transfer-Encoding:\r\n chunked, x\r\n\r\n" + inner,
		"vertical tab":       "Transfer-Encoding: \x0bchunked\r\n\r\n" + inner,
		"bare CR in chunk":   "Transfer-Encoding: chunked\r\n\r\n0\r\r\n" + inner,
		"chunk extension LF": "Transfer-Encoding: chunked\r\n\r\n1;a\nx\r\n0\r\n\r\r\n" + inner,
	} {
		t.Run(name, func(t *testing.T) {
			a := mustServe(t, nil)
			a.node.items["victim"] = item("victim", "v", 1)
			c := a.dial()
			c.send("PUT /kv/k HTTP/1.1\r\nHost: x\r\n%s", headersAndBody)
			if err := c.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, c.r); err != nil && !errors.Is(err, net.ErrClosed) && !isReset(err) {
				t.Fatal(err)
			}
			if _, ok := a.node.value("victim"); !ok {
				t.Error("the inner request was run")
			}
			a.expectReleased()
		})
	}
}

// isReset reports whether err is the end of a connection with unread bytes.
func isReset(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && !op.Timeout()
}

func TestHeaders_Slow(t *testing.T) {
	a := mustServe(t, func(c *httpapi.Config) { c.ReadHeaderTimeout = 50 * time.Millisecond })
	for _, start := range []string{"", "GET /kv/k HTTP/1.1\r\nHost: x\r\nX-Slow: "} {
		c := a.dial()
		c.send("%s", start)
		if _, err := io.Copy(io.Discard, c.r); err != nil && !isReset(err) {
			t.Errorf("%q: the connection is still open: %v", start, err)
		}
	}
}

func TestHeaders_TooLarge(t *testing.T) {
	a := mustServe(t, nil)
	c := a.dial()
	c.send("GET /kv/k HTTP/1.1\r\nHost: x\r\nX-Large: %s\r\n\r\n", strings.Repeat("x", 80<<10))
	if resp, _ := c.answer("GET"); resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("got %d, want 431", resp.StatusCode)
	}
	expectNotCalled(t, a)
}

func TestTimeouts(t *testing.T) {
	a := mustAPI(t, func(c *httpapi.Config) { c.RequestTimeout, c.AdminTimeout = time.Hour, 2*time.Hour })
	var left time.Duration
	a.node.hook = func(ctx context.Context, _, _ string) error {
		deadline, _ := ctx.Deadline()
		left = time.Until(deadline)
		return nil
	}
	for _, test := range []struct {
		method, target string
		want           time.Duration
	}{
		{"PUT", "/kv/k", time.Hour}, {"GET", "/kv/k", time.Hour}, {"GET", "/kv/", time.Hour},
		{"DELETE", "/kv/k", time.Hour}, {"POST", "/admin/leave", 2 * time.Hour},
	} {
		a.do(test.method, test.target, "")
		if left > test.want || left < test.want-time.Minute {
			t.Errorf("%s %s: the node has %v, want %v", test.method, test.target, left, test.want)
		}
	}
}
