package load

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/kvorum/kvorum/test/history"
)

// dialTimeout is the maximum time to make a connection. It is less than the minimum timeout
// of a request, so that the client knows whether a request was sent.
const dialTimeout = 800 * time.Millisecond

// linesType is the content type of JSON lines, and txnPath the path of transactions.
const (
	linesType = "application/x-ndjson"
	txnPath   = "/txn"
)

// wire is one client's connection to one host, which is made again after it breaks. It
// belongs to one goroutine.
type wire struct {
	base   string
	client http.Client
	conn   net.Conn // that the newest request was sent on
	// floor is the highest revision of a read on this connection.
	floor uint64
}

func newWire(base string) *wire {
	dialer := net.Dialer{Timeout: dialTimeout, KeepAlive: -1}
	return &wire{base: base, client: http.Client{
		Transport: &http.Transport{
			DialContext: dialer.DialContext, MaxConnsPerHost: 1, MaxIdleConnsPerHost: 1, DisableCompression: true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// close closes the idle connection.
func (w *wire) close() { w.client.CloseIdleConnections() }

// request is a request of a client.
type request struct {
	method string
	path   string // "" for that of key
	key    string // "" for a list
	query  url.Values
	match  string // If-Match
	none   string // If-None-Match
	once   string // Idempotency-Key
	value  string // the body of a PUT or a POST
}

func (r request) write() bool { return r.method != http.MethodGet }

// past reports whether the request asks for the state at a revision.
func (r request) past() bool { return r.query.Has("revision") }

// named reports whether an answer names its revision in a header.
func (r request) named() bool { return r.path == "" || r.path == txnPath }

// answer is the result of a request.
type answer struct {
	fate     history.Fate // Acknowledged is answered
	status   int          // 0 if there was no answer
	code     string       // of an answer that is a problem
	revision uint64       // Kvorum-Revision
	modified uint64       // ETag, 0 for none
	created  uint64       // Kvorum-Create-Revision, 0 for none
	version  uint64       // Kvorum-Version, 0 for none
	compact  uint64       // of a problem: the oldest revision that is kept
	level    string       // Kvorum-Consistency
	body     string
	err      error // why there is no answer, or not one that the API has
}

// do sends a request and waits for its answer, for at most timeout.
func (w *wire) do(r request, timeout time.Duration) answer {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	sent := false
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		// Called by this goroutine, before the request is written.
		GotConn: func(info httptrace.GotConnInfo) {
			sent = true
			if info.Conn != w.conn {
				w.conn, w.floor = info.Conn, 0
			}
		},
	})
	req, err := r.build(ctx, w.base)
	if err != nil {
		return answer{fate: history.NotDone, err: err}
	}
	resp, err := w.client.Do(req)
	if err != nil {
		if sent {
			return answer{fate: history.Unknown, err: err}
		}
		return answer{fate: history.NotDone, err: err}
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return understand(r, resp, string(body), err)
}

// build makes the HTTP request.
func (r request) build(ctx context.Context, base string) (*http.Request, error) {
	target := base + r.path
	if r.path == "" {
		target = base + "/kv/" + url.PathEscape(r.key)
	}
	if len(r.query) > 0 {
		target += "?" + r.query.Encode()
	}
	var body io.Reader
	if r.method == http.MethodPut || r.method == http.MethodPost && r.value != "" {
		body = strings.NewReader(r.value)
	}
	req, err := http.NewRequestWithContext(ctx, r.method, target, body)
	if err != nil {
		return nil, fmt.Errorf("make a request: %w", err)
	}
	if r.method == http.MethodGet && r.key == "" {
		req.Header.Set("Accept", linesType)
	}
	if r.match != "" {
		req.Header.Set("If-Match", r.match)
	}
	if r.once != "" {
		// Under the canonical name, net/http would send the request again by itself.
		req.Header["idempotency-key"] = []string{r.once}
	}
	if r.none != "" {
		req.Header.Set("If-None-Match", r.none)
	}
	return req, nil
}

// understand classifies an answer by the rules of the API. broken is the error of an
// incomplete body.
func understand(r request, resp *http.Response, body string, broken error) answer {
	a := answer{status: resp.StatusCode, body: body, fate: history.Unknown, level: resp.Header.Get("Kvorum-Consistency")}
	problem := resp.Header.Get("Content-Type") == "application/problem+json"
	if broken != nil && (!r.write() || problem || r.method == http.MethodPost) {
		a.err = broken
		return a
	}
	var p struct {
		Code, Outcome string
		Compact       uint64 `json:"compact_revision"`
	}
	if problem {
		if err := json.Unmarshal([]byte(body), &p); err != nil {
			a.err = fmt.Errorf("a problem that is no JSON: %w", errAnswer)
			return a
		}
		a.code, a.compact = p.Code, p.Compact
	}
	if !r.hasAnswer(a.status, a.code) {
		switch {
		case !problem:
			a.err = fmt.Errorf("%d to %s, without a problem: %w", a.status, r.method, errAnswer)
		case p.Outcome == "not_done" && a.status >= 400:
			a.fate = history.NotDone
		case p.Outcome != "unknown" || a.status == http.StatusServiceUnavailable || a.status == http.StatusTooManyRequests:
			a.err = fmt.Errorf("%d with outcome %q: %w", a.status, p.Outcome, errAnswer)
		}
		return a
	}
	a.fate = history.Acknowledged
	a.readHeaders(r, resp.Header)
	return a
}

// readHeaders reads the revisions of an answer.
func (a *answer) readHeaders(r request, h http.Header) {
	var err error
	if a.revision, err = strconv.ParseUint(h.Get("Kvorum-Revision"), 10, 64); err != nil && r.named() {
		a.err = fmt.Errorf("%d to %s, without Kvorum-Revision: %w", a.status, r.method, errAnswer)
	}
	for name, number := range map[string]*uint64{"ETag": &a.modified, "Kvorum-Create-Revision": &a.created, "Kvorum-Version": &a.version} {
		if text := strings.Trim(h.Get(name), `"`); text != "" {
			if *number, err = strconv.ParseUint(text, 10, 64); err != nil {
				a.err = fmt.Errorf("%s %q: %w", name, text, errAnswer)
			}
		}
	}
}

// hasAnswer reports whether a status is an answer to a request, rather than a refusal.
func (r request) hasAnswer(status int, code string) bool {
	switch {
	case status == http.StatusNotFound:
		return code == "key_not_found" && r.key != "" && r.method != http.MethodPut && r.method != http.MethodPost
	case status == http.StatusPreconditionFailed:
		return r.write() && code == "condition_failed"
	case r.method == http.MethodGet || r.method == http.MethodPost:
		return status == http.StatusOK
	case r.method == http.MethodPut:
		return status == http.StatusCreated || status == http.StatusNoContent
	}
	return status == http.StatusNoContent
}
