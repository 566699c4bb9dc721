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
	if o.KeysOnly {
		query.Set("keys_only", "true")
	}
	return query, nil
}

// Listing is a stream of items in byte order of their keys, all of one revision. It is
// used by one goroutine at a time.
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
	count    int    // number of items received
	next     string // see Next
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
	resp, n, err := c.do(l.ctx, request{method: http.MethodGet, path: "/kv/?" + query.Encode()})
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

// Next returns the Start of a list with the keys beyond Limit, "" if there are none. It is
// valid once All has yielded all items.
func (l *Listing) Next() string { return l.next }

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
	return parsed, true, nil
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
		return l.broken("listing goes on after its last line")
	}
	l.next = end.Next
	return nil
}

// broken returns the error of an incomplete list.
func (l *Listing) broken(format string, args ...any) error {
	e := badAnswer(l.endpoint, l.status, NotDone, format, args...)
	e.cause = endedOr(l.ctx, e.cause)
	return e
}
