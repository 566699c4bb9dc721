package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kvorum/kvorum/internal/api"
	"github.com/kvorum/kvorum/kv"
)

const (
	// watchHeartbeat is the maximum time between two messages of a watch that a node sends
	// by itself. With the timeout of a call, it is the time after which a silent endpoint is
	// left for another one.
	watchHeartbeat = 15 * time.Second
	// firstWatchPause and maxWatchPause are the pauses before a watch that could not be
	// continued is tried again; the first attempt comes at once.
	firstWatchPause = 50 * time.Millisecond
	maxWatchPause   = 2 * time.Second
)

// WatchOptions select the changes that a watch returns. The zero value selects all changes of
// all keys from now on.
type WatchOptions struct {
	// Span has the keys that are watched: kv.One, kv.Prefix or a range.
	Span kv.Span
	// From is the revision of the first changes, which may be a past or a future one. 0 means
	// every change after those that were acknowledged before the watch began.
	From uint64
	// Snapshot makes the watch return the state first, and then every change after it. From
	// must be 0.
	Snapshot bool
	// PrevItems asks for kv.Event.Prev, the key's item before the change.
	PrevItems bool
	// Kinds are the kinds of events that are returned; 0 is all of them.
	Kinds kv.EventKinds
	// Progress is the time without changes after which the watch returns a batch that has
	// none, from kv.MinWatchProgress to an hour; 0 means that it returns no such batch. It is
	// of kind kv.WatchProgress, or kv.WatchWaiting while the store has not reached From.
	Progress time.Duration
	// Level is the guarantee of the state with which the watch begins, and MinRevision its
	// lowest revision. If From is not 0, they must be zero.
	Level       Consistency
	MinRevision uint64
	// Interrupted is called by Next, if it is not nil, when a node has ended the watch or
	// can't continue it, with the reason. The watch then tries the next endpoint.
	Interrupted func(error)
}

// query returns the options as parameters of a request.
func (o *WatchOptions) query() (url.Values, error) {
	watch := kv.WatchOptions{Span: o.Span, From: o.From, Snapshot: o.Snapshot, Progress: o.Progress}
	if err := watch.Validate(); err != nil {
		return nil, usagef("WatchOptions: %w", err)
	}
	q := url.Values{}
	if key, one := o.Span.Key(); one {
		q.Set("key", key)
	} else {
		setIf(q, "start", o.Span.Start)
		setIf(q, "end", o.Span.End)
	}
	if o.From != 0 {
		if o.Level != "" || o.MinRevision != 0 {
			return nil, usagef("WatchOptions.Level and MinRevision are not for a watch with From")
		}
		q.Set("from_revision", strconv.FormatUint(o.From, 10))
	} else {
		reads, err := ReadOptions{Level: o.Level, MinRevision: o.MinRevision}.query()
		if err != nil {
			return nil, err
		}
		for name, values := range reads {
			q[name] = values
		}
	}
	if o.Snapshot {
		q.Set("snapshot", "true")
	}
	if o.PrevItems {
		q.Set("prev", "true")
	}
	setIf(q, "ops", kindNames(o.Kinds))
	q.Set("progress", o.heartbeat().String())
	return q, nil
}

// heartbeat returns the time without messages after which a node sends one.
func (o *WatchOptions) heartbeat() time.Duration {
	if o.Progress > 0 {
		return min(o.Progress, watchHeartbeat)
	}
	return watchHeartbeat
}

// kindNames returns the names of the kinds of a set as a parameter, "" for all of them.
func kindNames(set kv.EventKinds) string {
	if set == 0 {
		return ""
	}
	var names []string
	for kind := kv.EventPut; kind.String() != "unknown"; kind++ {
		if set.Has(kind) {
			names = append(names, kind.String())
		}
	}
	return strings.Join(names, ",")
}

// setIf sets a parameter unless its value is "".
func setIf(q url.Values, name, value string) {
	if value != "" {
		q.Set(name, value)
	}
}

// Watch returns the changes of keys, each once and in the order of their revisions, from any
// node. A revision with many changes comes in several batches, of which all but the last are
// Partial. When its node stops or can't be reached, it continues on the next endpoint after the
// last revision that it has returned. It is used by one goroutine at a time; the end of its
// context ends it from another one.
type Watch struct {
	ctx     context.Context // its end ends the watch
	cancel  context.CancelFunc
	client  *Client
	options WatchOptions
	query   url.Values

	stream   *watchStream // nil until a node has begun one
	known    bool         // revision is one: before it, the watch can only begin again
	revision uint64       // see Revision
	part     watchPart    // of the revision of which Next has returned a part
	skip     int          // the number of events of that revision to leave out of this stream
	pause    time.Duration
	last     time.Time // when Next has returned a batch
	err      error     // with which the watch has ended
}

// watchPart is the number of events of a revision that were returned, while others are left. The
// zero value means that there is no such revision.
type watchPart struct {
	revision uint64
	events   int
}

// watchStream is the answer of one node.
type watchStream struct {
	ctx      context.Context // of the request
	cancel   context.CancelCauseFunc
	endpoint string
	number   uint64 // of the endpoint
	status   int
	body     io.ReadCloser
	lines    *api.Lines
}

// Watch begins a watch. When it returns, the answer of a node has begun: the watch will return
// every change after that, and every change since the revision From. The end of ctx ends the
// watch. The caller closes it.
func (c *Client) Watch(ctx context.Context, o WatchOptions) (*Watch, error) {
	query, err := o.query()
	if err != nil {
		return nil, err
	}
	w := &Watch{client: c, options: o, query: query, last: time.Now()}
	w.ctx, w.cancel = context.WithCancel(ctx)
	if err := w.begin(false); err != nil {
		w.Close()
		return nil, err
	}
	return w, nil
}

// Revision returns one up to which Next has returned all changes: a watch From the revision
// after it continues this one. A part of a revision does not count. Before the whole state of a snapshot was returned it is 0.
func (w *Watch) Revision() uint64 { return w.revision }

// Close ends the watch. It may be called several times.
func (w *Watch) Close() {
	w.cancel()
	w.stream.close()
	if w.err == nil {
		w.err = &Error{Outcome: NotDone, text: "the watch is closed", cause: context.Canceled}
	}
}

// All yields the batches of the watch. An error is yielded last, without a batch. The watch is
// closed when the loop ends.
func (w *Watch) All() iter.Seq2[kv.WatchBatch, error] {
	return func(yield func(kv.WatchBatch, error) bool) {
		defer w.Close()
		for {
			b, err := w.Next()
			if !yield(b, err) || err != nil {
				return
			}
		}
	}
}

// Next returns the next batch and waits until there is one; see kv.WatchBatch. While no
// endpoint continues the watch, it tries them again and again, until the context ends. An endpoint
// that refuses it, for example because its build is older, does not end it, but all of them do. If
// the state of a snapshot broke off, the state begins again on another endpoint, which its
// Revision shows if anything has changed.
//
// An error ends the watch: later calls return it too. One that matches kv.ErrCompacted has a
// *kv.CompactedError in it: the history after Revision was discarded before it was read, so
// there are changes that the watch can't return. Parts of the revision after Revision, if Next
// has returned some, count for nothing. A new watch with Snapshot begins with the
// state.
func (w *Watch) Next() (kv.WatchBatch, error) {
	for w.err == nil {
		b, returned, err := w.next()
		if err != nil {
			w.err = w.resume(err)
		} else if returned {
			w.last = time.Now()
			return b, nil
		}
	}
	return kv.WatchBatch{}, w.err
}

// next reads the next message. It returns false if there is nothing in it for the user.
func (w *Watch) next() (b kv.WatchBatch, returned bool, err error) {
	m, err := w.stream.read()
	if err != nil {
		return b, false, err
	}
	b.Revision = m.Revision
	switch m.Type {
	case api.WatchState:
		b.Kind, b.Items = kv.WatchState, m.Items
		return b, true, nil
	case api.WatchSynced:
		b.Kind, returned = kv.WatchSynced, true
	case api.WatchChanges:
		return w.changes(m)
	case api.WatchProgress:
		b.Kind, returned = kv.WatchProgress, w.progressDue()
	case api.WatchWaiting:
		b.Kind = kv.WatchWaiting
		return b, w.progressDue(), nil
	case api.WatchCompacted:
		return b, false, w.compacted(m)
	case api.WatchEnd:
		return b, false, w.stream.ended(m)
	case api.WatchStart:
		w.reached(m.Revision)
		return b, false, nil
	default: // of a newer version
		return b, false, nil
	}
	w.reached(m.Revision)
	w.pause = 0
	return b, returned, nil
}

// changes returns the changes in a message. If another stream has returned a part of the same
// revision, it leaves that part out: all nodes have the changes of a revision in one order.
func (w *Watch) changes(m api.WatchMessage) (b kv.WatchBatch, returned bool, err error) {
	switch {
	case w.known && m.Revision <= w.revision:
		return b, false, w.stream.broken("changes of revision %d follow those of %d", m.Revision, w.revision)
	case w.part.revision != 0 && m.Revision != w.part.revision:
		return b, false, w.stream.broken("changes of revision %d follow a part of %d", m.Revision, w.part.revision)
	}
	w.pause = 0
	known := min(w.skip, len(m.Events))
	w.skip -= known
	b = kv.WatchBatch{Kind: kv.WatchChanges, Revision: m.Revision, Events: m.Events[known:], Partial: m.Partial}
	if m.Partial {
		w.part = watchPart{m.Revision, w.part.events + len(b.Events)}
		return b, len(b.Events) > 0, nil
	}
	w.part = watchPart{}
	w.reached(m.Revision)
	return b, true, nil
}

// reached notes that all changes up to a revision were returned.
func (w *Watch) reached(revision uint64) {
	w.known, w.revision = true, max(w.revision, revision)
}

// progressDue reports whether the user gets the progress that a node has sent.
func (w *Watch) progressDue() bool {
	o := &w.options
	return o.Progress > 0 && (o.Progress <= watchHeartbeat || time.Since(w.last) >= o.Progress)
}

// compacted returns the error for a watch that the compaction has overtaken.
func (w *Watch) compacted(m api.WatchMessage) error {
	gone := &kv.CompactedError{Revision: m.Revision + 1, CompactRevision: m.CompactRevision}
	return &Error{
		Endpoint: w.stream.endpoint, Status: http.StatusGone, Code: kv.ErrCompacted.Code, Outcome: NotDone,
		Revision: m.Revision, CompactRevision: m.CompactRevision, text: gone.Error(), cause: gone,
	}
}

// begin makes a node begin the watch, or continue it after the revision that was reached. A watch
// that resumes is refused only if all endpoints refuse it.
func (w *Watch) begin(resumes bool) error {
	if w.known {
		q := url.Values{}
		for name, values := range w.query {
			q[name] = values
		}
		for _, name := range []string{"consistency", "min_revision", "snapshot"} {
			q.Del(name)
		}
		q.Set("from_revision", strconv.FormatUint(w.revision+1, 10))
		w.query = q
	}
	stream, err := w.client.openWatch(w.ctx, w.query, w.options.heartbeat(), resumes)
	if err != nil {
		return w.withRevision(err)
	}
	w.skip = w.part.events
	if w.stream = stream; w.known || w.options.Snapshot {
		return nil
	}
	// The changes after the first message are those after which the caller may ask.
	m, err := stream.read()
	if err == nil && m.Type != api.WatchStart {
		err = stream.broken("its first message is %.20q", m.Type)
	}
	if err == nil {
		w.reached(m.Revision)
	}
	return err
}

// withRevision adds to a refusal for a compacted revision which one it is.
func (w *Watch) withRevision(err error) error {
	failed := (*Error)(nil)
	if errors.As(err, &failed) && failed.Code == kv.ErrCompacted.Code {
		from, _ := strconv.ParseUint(w.query.Get("from_revision"), 10, 64) // made by this package
		failed.cause = &kv.CompactedError{Revision: from, CompactRevision: failed.CompactRevision}
	}
	return err
}

// resume continues the watch on another endpoint after err. It returns an error if it can't be
// continued, or if the context has ended.
func (w *Watch) resume(err error) error {
	for {
		again := w.ctx.Err() == nil && resumable(err)
		w.leave(again)
		if !again {
			return err
		}
		if w.options.Interrupted != nil {
			w.options.Interrupted(err)
		}
		if err := w.wait(err); err != nil {
			return err
		}
		if err = w.begin(true); err == nil {
			return nil
		}
	}
}

// leave ends the stream. If the watch is to be continued, the next request begins at another
// endpoint.
func (w *Watch) leave(again bool) {
	if w.stream == nil {
		return
	}
	w.stream.close()
	if again {
		w.client.first.CompareAndSwap(w.stream.number, w.stream.number+1)
	}
	w.stream = nil
}

// resumable reports whether the watch may be continued after err: on one endpoint, if all have
// failed.
func resumable(err error) bool {
	if all := (*allFailed)(nil); errors.As(err, &all) {
		return slices.ContainsFunc(all.errs, resumable)
	}
	failed := (*Error)(nil)
	return errors.As(err, &failed) && failed.Retryable
}

// wait waits before the next attempt, longer each time, and as long as the node has asked for.
func (w *Watch) wait(reason error) error {
	pause := w.pause
	w.pause = min(max(2*w.pause, firstWatchPause), maxWatchPause)
	failed := (*Error)(nil)
	if errors.As(reason, &failed) && pause > 0 {
		pause = max(pause, failed.RetryAfter)
	}
	if pause == 0 {
		return nil
	}
	select {
	case <-time.After(pause):
		return nil
	case <-w.ctx.Done():
		return &Error{Outcome: NotDone, text: "the watch was interrupted: " + reason.Error(), cause: endedOr(w.ctx, reason)}
	}
}

// openWatch makes an endpoint begin a watch. anywhere is that of the request.
func (c *Client) openWatch(ctx context.Context, query url.Values, heartbeat time.Duration, anywhere bool) (*watchStream, error) {
	s := new(watchStream)
	s.ctx, s.cancel = context.WithCancelCause(ctx)
	stall := time.AfterFunc(c.timeout, func() { s.cancel(&timeoutError{c.timeout}) })
	resp, n, err := c.do(s.ctx, request{
		method: http.MethodGet, path: "/watch?" + query.Encode(), header: map[string]string{"Accept": "application/x-ndjson"}, anywhere: anywhere,
	})
	stall.Stop()
	if err != nil {
		s.cancel(nil)
		return nil, err
	}
	silence := heartbeat + c.timeout
	stalled := time.AfterFunc(silence, func() { s.cancel(&timeoutError{silence}) })
	stalled.Stop() // until the first read
	s.endpoint, s.number, s.status, s.body = c.endpoint(n), n, resp.StatusCode, resp.Body
	s.lines = api.NewWatchLines(&watched{r: resp.Body, timeout: silence, stall: stalled})
	return s, nil
}

// read returns the next message. Its error is an *Error.
func (s *watchStream) read() (api.WatchMessage, error) {
	line, err := s.lines.Next()
	switch {
	case errors.Is(err, api.ErrLineTooLong): // and would be so everywhere
		e := s.broken("%w", err)
		e.Retryable = false
		return api.WatchMessage{}, e
	case errors.Is(err, io.EOF):
		return api.WatchMessage{}, s.broken("it broke off")
	case err != nil:
		return api.WatchMessage{}, s.broken("it broke off: %w", transportReason(s.ctx, err))
	}
	m, err := api.ParseWatchMessage(line)
	if err != nil {
		return m, s.broken("bad message: %w", err)
	}
	return m, nil
}

// ended returns the error of a watch that its node has ended.
func (s *watchStream) ended(m api.WatchMessage) error {
	return &Error{
		Endpoint: s.endpoint, Status: http.StatusServiceUnavailable, Code: m.Code, Outcome: NotDone,
		Retryable: m.Retryable || m.Code == kv.ErrClosed.Code,
		Revision:  m.Revision, text: bare(s.endpoint) + ": " + m.Detail,
	}
}

// broken returns the error of a stream that can't be read.
func (s *watchStream) broken(format string, args ...any) *Error {
	e := badAnswer(s.endpoint, s.status, NotDone, "watch: %w", fmt.Errorf(format, args...))
	e.cause = endedOr(s.ctx, e.cause)
	return e
}

// close ends the request, unless s is nil.
func (s *watchStream) close() {
	if s != nil {
		s.cancel(nil)
		_ = s.body.Close() // it was only read
	}
}
