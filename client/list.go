package client

import (
	"context"
	"errors"
	"io"
	"iter"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/kvorum/kvorum/internal/api"
	"github.com/kvorum/kvorum/kv"
)

// ListOptions select the keys of a list. The zero value selects all keys with their values.
type ListOptions struct {
	Prefix   string // only keys that begin with it
	Start    string // only this key and those after it, in byte order
	Limit    int    // maximum number of keys; 0 is no limit
	KeysOnly bool   // without values: those of the items are nil
	Reverse  bool   // from the last key to the first
	// Cursor continues a list with the same Prefix, Start and Reverse, at the same
	// revision; see Listing.Cursor.
	Cursor string
	// ReadOptions select the list's consistency.
	ReadOptions
}

// query returns the options as parameters of a request.
func (o ListOptions) query() (url.Values, error) {
	if o.Limit < 0 {
		return nil, usagef("ListOptions.Limit must not be negative")
	}
	reads, err := o.ReadOptions.query()
	if err != nil {
		return nil, err
	}
	query := url.Values{"prefix": {o.Prefix}}
	maps.Copy(query, reads)
	if o.Start != "" {
		query.Set("start", o.Start)
	}
	if o.Limit > 0 {
		query.Set("limit", strconv.Itoa(o.Limit))
	}
	if o.Cursor != "" {
		query.Set("cursor", o.Cursor)
	}
	if o.Reverse {
		query.Set("reverse", "true")
	}
	if o.KeysOnly {
		query.Set("keys_only", "true")
	}
	return query, nil
}

// Listing is a stream of items, all of one revision, in byte order of their keys or the
// other way round. It is used by one goroutine at a time.
type Listing struct {
	// Revision is the revision of the items: the MinRevision of later reads that must not
	// see an older state.
	Revision uint64

	ctx      context.Context // of the request only; it has the reason of its end
	cancel   context.CancelCauseFunc
	endpoint string
	status   int
	keysOnly bool
	body     io.ReadCloser
	lines    *api.Lines
	clock    int64  // cluster clock of the items' state, 0 while it is not known; see TTL
	count    int    // number of items received
	next     string // see Next
	cursor   string // see Cursor
}

// List begins a list: the answer of a node has begun when it returns. The caller
// closes the listing. A node ends a list early if the client reads less than 32 KiB/s on
// average, or if it takes more than 30 minutes.
func (c *Client) List(ctx context.Context, o ListOptions) (*Listing, error) {
	query, err := o.query()
	if err != nil {
		return nil, err
	}
	l := &Listing{keysOnly: o.KeysOnly}
	l.ctx, l.cancel = context.WithCancelCause(ctx)
	stall := time.AfterFunc(c.timeout, func() { l.cancel(&timeoutError{c.timeout}) })
	resp, n, err := c.do(l.ctx, request{
		method: http.MethodGet, path: "/kv/?" + query.Encode(), header: map[string]string{"Accept": "application/x-ndjson"},
	})
	stall.Stop()
	if err != nil {
		l.cancel(nil)
		return nil, err
	}
	l.Revision, l.endpoint, l.status, l.body = revisionOf(resp.Header), c.endpoint(n), resp.StatusCode, resp.Body
	l.lines = api.NewLines(&watched{r: resp.Body, timeout: c.timeout, stall: stall})
	return l, nil
}

// watched limits the time of each read of a stream, but not the time between two reads.
type watched struct {
	r       io.Reader
	timeout time.Duration
	stall   *time.Timer // ends the request
}

// Read implements io.Reader.
func (w *watched) Read(p []byte) (int, error) {
	w.stall.Reset(w.timeout)
	defer w.stall.Stop()
	return w.r.Read(p)
}

// All yields the items, once. An error is yielded last, without an item. It means that the
// list is incomplete: its last line is missing, or counts more items than were received.
// The listing is closed when the loop ends.
func (l *Listing) All() iter.Seq2[kv.Item, error] {
	return func(yield func(kv.Item, error) bool) {
		defer l.Close()
		for {
			item, more, err := l.read()
			if err == nil && !more || !yield(item, err) || err != nil {
				return
			}
		}
	}
}

// Next returns the Start of a list with the keys beyond Limit, "" if there are none or the
// list is in reverse order. It is valid once All has yielded all items.
func (l *Listing) Next() string { return l.next }

// Cursor returns the Cursor of a list with the items beyond Limit, at the same revision, ""
// if there are none. It is valid once All has ended. If All has ended with the code
// "view_ended", because the list took too long, the cursor continues it.
func (l *Listing) Cursor() string { return l.cursor }

// TTL returns what is left of the time to live of an item that the listing has yielded, by the
// cluster clock of the listing's state; 0 if the item has no deadline, or if
// ReadOptions.Revision or a Cursor named the state.
func (l *Listing) TTL(it kv.Item) time.Duration {
	if it.Deadline == 0 || l.clock == 0 {
		return 0
	}
	return time.Duration(it.Deadline-l.clock) * time.Millisecond
}

// Close ends the request if it has not ended. It may be called several times.
func (l *Listing) Close() {
	l.cancel(nil)
	_ = l.body.Close() // it was only read
}

// read returns the next item; more is false after the last one.
func (l *Listing) read() (item kv.Item, more bool, err error) {
	line, err := l.lines.Next()
	switch {
	case errors.Is(err, io.EOF):
		return kv.Item{}, false, l.broken("listing broke off: its last line is missing after %d keys", l.count)
	case err != nil:
		return kv.Item{}, false, l.broken("listing broke off: %w", transportReason(l.ctx, err))
	}
	parsed, end, err := api.ParseListLine(line, l.keysOnly)
	switch {
	case err != nil:
		return kv.Item{}, false, l.broken("listing holds a bad line: %w", err)
	case end != nil:
		return kv.Item{}, false, l.checkEnd(end)
	}
	l.count++
	if parsed.Clock != 0 {
		l.clock = parsed.Clock
	}
	return parsed.Item, true, nil
}

// checkEnd returns an error unless the last line has the number of received items, and
// nothing follows it.
func (l *Listing) checkEnd(end *api.End) error {
	switch {
	case end.Count == nil:
		return l.broken("listing's last line does not say how many keys it has")
	case *end.Count != l.count:
		return l.broken("listing is not whole: %d keys came, its last line says %d", l.count, *end.Count)
	}
	if _, err := l.lines.Next(); !errors.Is(err, io.EOF) {
		return l.broken("listing continues after its last line")
	}
	l.next, l.cursor = end.Next, end.Cursor
	if end.Error != nil {
		e := &Error{Endpoint: l.endpoint, Status: end.Error.Status, Revision: l.Revision}
		e.take(*end.Error, false)
		return e
	}
	return nil
}

// broken returns the error of an incomplete list.
func (l *Listing) broken(format string, args ...any) error {
	e := badAnswer(l.endpoint, l.status, NotDone, format, args...)
	e.cause = endedOr(l.ctx, e.cause)
	return e
}
