package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

const (
	// dialTimeout bounds a connection attempt, so that an endpoint that
	// swallows packets leaves time for the next one.
	dialTimeout = 2 * time.Second
	// maxValueBytes bounds a value that is read or written: the largest a server can be set to take.
	maxValueBytes = 64 << 20
	// expectBytes is the size from which a put waits for the server's consent
	// before it sends the value: a refusal of a value too large then costs nothing,
	// and can't be lost to a connection that breaks under unread bytes.
	expectBytes = 1 << 20
	// maxAnswerBytes bounds what is read of an answer that is no value: 4 MiB.
	maxAnswerBytes = 4 << 20
	// maxRetryAfter bounds how long a server's Retry-After is obeyed.
	maxRetryAfter = 5 * time.Second
)

// client talks to a cluster over HTTP. It is safe for concurrent use.
type client struct {
	endpoints []string // base URLs without a trailing slash, at least one
	timeout   time.Duration
	http      *http.Client
	first     atomic.Uint64 // the endpoint that answered last, modulo len(endpoints)
}

// newClient returns a client of the given endpoints, each host:port or a URL of
// HTTP or HTTPS, that keeps up to conns connections to each of them. Over HTTPS,
// nodes have certificates of the authorities in the PEM file ca, or, where that
// is empty, of those that the machine trusts.
// Timeout bounds one request, all its attempts together; for a listing it
// bounds the wait for the next byte.
func newClient(endpoints []string, timeout time.Duration, conns int, ca string) (*client, error) {
	c := &client{timeout: timeout}
	for _, e := range endpoints {
		base, err := parseEndpoint(e)
		if err != nil {
			return nil, err
		}
		c.endpoints = append(c.endpoints, base)
	}
	if len(c.endpoints) == 0 {
		return nil, usagef("--endpoints names no endpoint")
	}
	if timeout <= 0 {
		return nil, usagef("--timeout must be greater than 0")
	}
	// The standard logger is net/http's alone here. It says there what a server sent that
	// was asked nothing, in lines of its own; the request's error says that too.
	log.SetOutput(io.Discard)
	transport := &http.Transport{
		// No proxy: whether a write was sent is judged by the connection to the node itself.
		DialContext:           dialHeard,
		MaxIdleConnsPerHost:   conns,
		IdleConnTimeout:       90 * time.Second,
		TLSHandshakeTimeout:   dialTimeout,
		ExpectContinueTimeout: time.Second,
		DisableCompression:    true, // values are opaque bytes
	}
	if ca != "" {
		if err := trust(transport, ca); err != nil {
			return nil, err
		}
	}
	c.http = &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return c, nil
}

// parseEndpoint returns an endpoint as a base URL.
func parseEndpoint(endpoint string) (string, error) {
	text := strings.TrimSpace(endpoint)
	if !strings.Contains(text, "://") {
		text = "http://" + text
	}
	u, err := url.Parse(strings.TrimSuffix(text, "/"))
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "" ||
		u.User != nil || u.Path != "" || u.RawQuery != "" || u.Fragment != "" {
		return "", usagef("endpoint %q is not host:port, http://host:port or https://host:port", endpoint)
	}
	return u.String(), nil
}

// close closes idle connections.
func (c *client) close() { c.http.CloseIdleConnections() }

// request is one call of the API, sent to one endpoint after the other.
type request struct {
	method string
	path   string // escaped, with its query
	body   []byte
	json   bool // body is JSON rather than a raw value
	write  bool // changes the cluster's state: sent again only if certainly not done
}

// requestError is why a request failed at one endpoint.
type requestError struct {
	endpoint string
	problem  problem
	// answered says that the endpoint gave an HTTP answer.
	answered bool
	// notDone says that the request certainly had no effect; otherwise, for a
	// write, the outcome is unknown.
	notDone bool
	// retryable says that the same request may succeed later or elsewhere.
	retryable  bool
	retryAfter time.Duration
	write      bool
	err        error // why there was no answer
}

// problem is the body of an error answer, application/problem+json.
type problem struct {
	Title     string `json:"title"`
	Status    int    `json:"status"`
	Detail    string `json:"detail"`
	Code      string `json:"code"`
	Retryable bool   `json:"retryable"`
	Outcome   string `json:"outcome"` // not_done or unknown
}

// Error implements error.
func (e *requestError) Error() string {
	text := e.problem.Title
	if e.problem.Detail != "" {
		text += ": " + e.problem.Detail
	}
	if !e.answered {
		text = fmt.Sprintf("%s: %v", strings.TrimPrefix(e.endpoint, "http://"), e.err)
	}
	if e.write && !e.notDone && !strings.Contains(strings.ToLower(text), "unknown") {
		text = "outcome unknown, the write may or may not have happened: " + text
	}
	return text
}

// Unwrap returns why there was no answer, if there was none.
func (e *requestError) Unwrap() error { return e.err }

// retryAfter returns how long the server that answered err asks to wait.
func retryAfter(err error) time.Duration {
	var re *requestError
	if errors.As(err, &re) {
		return re.retryAfter
	}
	return 0
}

// do sends r to one endpoint after the other until one carries it out. Another
// endpoint is tried while r is certainly not done, or changes nothing, and the
// failure is one that another may not share. The caller closes the body.
func (c *client) do(ctx context.Context, r request) (*http.Response, error) {
	first := c.first.Load()
	var failures []string
	for i := range uint64(len(c.endpoints)) {
		n := first + i
		resp, err := c.try(ctx, r, n)
		if err == nil {
			c.first.Store(n)
			return resp, nil
		}
		var re *requestError
		if !errors.As(err, &re) || !re.retryable || (r.write && !re.notDone) || ctx.Err() != nil {
			return nil, err
		}
		failures = append(failures, err.Error())
		if len(failures) == len(c.endpoints) && len(failures) == 1 {
			return nil, err
		}
	}
	return nil, fmt.Errorf("no endpoint could do it: %s", strings.Join(failures, "; "))
}

// try sends r to the nth endpoint, counted modulo their number. Its error is a
// *requestError unless the request itself could not be made.
func (c *client) try(ctx context.Context, r request, n uint64) (*http.Response, error) {
	endpoint := c.endpoints[n%uint64(len(c.endpoints))]
	// A request that never had a connection had no bytes sent.
	var conn atomic.Pointer[net.Conn]
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(got httptrace.GotConnInfo) { conn.Store(&got.Conn) },
	})
	req, err := http.NewRequestWithContext(traced, r.method, endpoint+r.path, bytes.NewReader(r.body))
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	if len(r.body) > expectBytes {
		req.Header.Set("Expect", "100-continue")
	}
	switch {
	case r.json:
		req.Header.Set("Content-Type", "application/json")
	case r.body != nil:
		req.Header.Set("Content-Type", "application/octet-stream")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, &requestError{
			endpoint: endpoint, write: r.write, notDone: conn.Load() == nil, retryable: true,
			err: c.explain(ctx, err, conn.Load()),
		}
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		defer resp.Body.Close()
		return nil, answerError(resp, endpoint, r.write)
	}
	return resp, nil
}

// answerError returns the error that an answer without success stands for. An
// answer of another shape, a proxy's say, is judged by its status alone.
func answerError(resp *http.Response, endpoint string, write bool) *requestError {
	e := &requestError{endpoint: endpoint, answered: true, write: write}
	body, _ := io.ReadAll(io.LimitReader(resp.Body, maxAnswerBytes)) // a cut body is judged by its status
	if err := json.Unmarshal(body, &e.problem); err == nil && e.problem.Title != "" {
		e.retryable = e.problem.Retryable
		e.notDone = e.problem.Outcome != "unknown"
	} else {
		e.problem = problem{Title: fmt.Sprintf("%s answered %s", endpoint, resp.Status), Detail: foreignText(body)}
		e.retryable = resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode > 501
		e.notDone = resp.StatusCode < 500
	}
	e.problem.Status = resp.StatusCode
	if s, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && s > 0 {
		e.retryAfter = min(time.Duration(s)*time.Second, maxRetryAfter)
	}
	return e
}

// call is do for a small answer, which it reads whole; the time-out covers all of it.
func (c *client) call(ctx context.Context, r request, limit int64) ([]byte, http.Header, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	resp, err := c.do(ctx, r)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	if r.write {
		return body, resp.Header, nil // the status said that it is done
	}
	if err != nil {
		return nil, nil, fmt.Errorf("answer broke off: %w", transportReason(ctx, err, c.timeout))
	}
	if int64(len(body)) > limit {
		return nil, nil, fmt.Errorf("answer is larger than %d bytes", limit)
	}
	return body, resp.Header, nil
}

// put stores value under key, and returns whether the key is new and the
// revision the write took.
func (c *client) put(ctx context.Context, key string, value []byte) (created bool, revision string, err error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	resp, err := c.do(ctx, putRequest(key, value))
	if err != nil {
		return false, "", err
	}
	defer resp.Body.Close()
	return resp.StatusCode == http.StatusCreated, resp.Header.Get("Kvorum-Revision"), nil
}

// putOnce tries a put at the nth endpoint alone.
func (c *client) putOnce(ctx context.Context, key string, value []byte, n uint64) error {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	resp, err := c.try(ctx, putRequest(key, value), n)
	if err != nil {
		return err
	}
	// Read to its end, so that the connection is used again.
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, maxAnswerBytes))
	return resp.Body.Close()
}

// putRequest returns the request that stores value under key.
func putRequest(key string, value []byte) request {
	if value == nil {
		value = []byte{}
	}
	return request{method: http.MethodPut, path: keyPath(key), body: value, write: true}
}

// get returns the value of key; reads says what that promises, see readFlags.
func (c *client) get(ctx context.Context, key string, reads url.Values) ([]byte, error) {
	path := keyPath(key) + "?" + reads.Encode()
	body, _, err := c.call(ctx, request{method: http.MethodGet, path: path}, maxValueBytes)
	return body, err
}

// del deletes key and returns the revision that took.
func (c *client) del(ctx context.Context, key string) (revision string, err error) {
	_, header, err := c.call(ctx, request{method: http.MethodDelete, path: keyPath(key), write: true}, maxAnswerBytes)
	return header.Get("Kvorum-Revision"), err
}

// listQuery says what a listing holds.
type listQuery struct {
	prefix   string
	limit    int // 0 is all
	keysOnly bool
	reads    url.Values // what it promises, see readFlags
}

// listing is a stream of records in key order, of one revision.
type listing struct {
	keysOnly bool
	ctx      context.Context // of the request alone, for the reason it ended
	cancel   context.CancelCauseFunc
	stall    *time.Timer // ends the request when nothing comes
	timeout  time.Duration
	body     io.ReadCloser
	lines    *lineReader
	count    int // of the records that came
}

// list begins a listing. The caller closes it.
func (c *client) list(ctx context.Context, q listQuery) (*listing, error) {
	query := url.Values{"prefix": {q.prefix}}
	maps.Copy(query, q.reads)
	if q.limit > 0 {
		query.Set("limit", strconv.Itoa(q.limit))
	}
	if q.keysOnly {
		query.Set("keys_only", "true")
	}
	l := &listing{keysOnly: q.keysOnly, timeout: c.timeout}
	l.ctx, l.cancel = context.WithCancelCause(ctx)
	l.stall = time.AfterFunc(c.timeout, func() { l.cancel(context.DeadlineExceeded) })
	resp, err := c.do(l.ctx, request{method: http.MethodGet, path: "/kv/?" + query.Encode()})
	if err != nil {
		l.stop()
		return nil, err
	}
	l.body, l.lines = resp.Body, newLineReader(resp.Body)
	return l, nil
}

// next returns the next record, io.EOF after the last one. Any other error
// means that the listing is not whole: its last line did not come, or says that
// other lines are missing.
func (l *listing) next() (record, error) {
	line, err := l.line()
	if err != nil {
		return record{}, fmt.Errorf("listing broke off: %w", err)
	}
	r, err := parseRecord(line, l.keysOnly)
	var end *endError
	switch {
	case errors.As(err, &end):
		return record{}, l.checkEnd(end)
	case err != nil:
		return record{}, fmt.Errorf("listing holds a bad line: %w", err)
	}
	l.count++
	return r, nil
}

// line returns the next line, or why there is none.
func (l *listing) line() ([]byte, error) {
	l.stall.Reset(l.timeout)
	line, err := l.lines.next()
	switch {
	case errors.Is(err, io.EOF):
		return nil, fmt.Errorf("its last line is missing after %d keys", l.count)
	case err != nil:
		return nil, transportReason(l.ctx, err, l.timeout)
	}
	return line, nil
}

// checkEnd returns io.EOF if the last line agrees with what came, and nothing follows it.
func (l *listing) checkEnd(end *endError) error {
	switch {
	case end.count == nil:
		return errors.New("listing's last line does not say how many keys it has")
	case *end.count != l.count:
		return fmt.Errorf("listing is not whole: %d keys came, its last line says %d", l.count, *end.count)
	}
	l.stall.Reset(l.timeout)
	if _, err := l.lines.next(); !errors.Is(err, io.EOF) {
		return errors.New("listing goes on after its last line")
	}
	return io.EOF
}

// close ends the request if it has not ended.
func (l *listing) close() {
	l.stop()
	_ = l.body.Close() // only read from
}

// stop releases what a listing holds beside its body.
func (l *listing) stop() {
	l.stall.Stop()
	l.cancel(nil)
}

// status returns what a node says of itself, as it said it, and an error from
// the same node if it is not ready to serve.
func (c *client) status(ctx context.Context) (body []byte, notReady error, err error) {
	body, _, err = c.call(ctx, request{method: http.MethodGet, path: "/status"}, maxAnswerBytes)
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	resp, err := c.try(ctx, request{method: http.MethodGet, path: "/readyz"}, c.first.Load())
	if err != nil {
		return body, err, nil
	}
	return body, nil, resp.Body.Close()
}

// encodeNode returns the body of an /admin request about the node that the arguments
// of a command name. Where they name none, the server chooses one.
func encodeNode(args []string, force bool) ([]byte, error) {
	fields := map[string]any{}
	if len(args) > 0 {
		fields["id"] = args[0]
	}
	if force {
		fields["force"] = true
	}
	body, err := json.Marshal(fields)
	if err != nil {
		return nil, fmt.Errorf("encode request: %w", err)
	}
	return body, nil
}

// nodeOr returns the node that the arguments of a command name, or other.
func nodeOr(args []string, other string) string {
	if len(args) > 0 {
		return args[0]
	}
	return other
}

// admin posts body to an /admin path.
func (c *client) admin(ctx context.Context, path string, body []byte) error {
	_, _, err := c.call(ctx, request{method: http.MethodPost, path: path, body: body, json: true, write: true}, maxAnswerBytes)
	return err
}

// keyPath returns the path of a key. Bytes other than letters, digits, '-',
// '_', '~', '/' and '.' are escaped, and so is a '.' that begins a segment: the
// segments "." and ".." are keys here, and nothing on the way may resolve them.
func keyPath(key string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	b.WriteString("/kv/")
	for i := range len(key) {
		ch := key[i]
		switch {
		case 'a' <= ch && ch <= 'z', 'A' <= ch && ch <= 'Z', '0' <= ch && ch <= '9',
			ch == '-', ch == '_', ch == '~', ch == '/',
			ch == '.' && i > 0 && key[i-1] != '/':
			b.WriteByte(ch)
		default:
			b.WriteString(string([]byte{'%', hex[ch>>4], hex[ch&15]}))
		}
	}
	return b.String()
}
