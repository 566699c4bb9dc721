package httpapi

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/kvorum/kvorum/kv"
)

// A watch is a stream of messages, each a JSON object. As JSON lines, a message is a line. As
// server-sent events, it is the data of an event, whose name is the message's type:
//
//	{"type":"start","revision":7}
//	{"type":"state","revision":7,"items":[{"key":"a","value":"x","create_revision":3,…}]}
//	{"type":"synced","revision":7}
//	{"type":"changes","revision":8,"events":[{"op":"put","key":"a","value":"y",…,"prev":{…}},
//	                                         {"op":"delete","key":"b","mod_revision":8}]}
//	{"type":"changes","revision":9,"partial":true,"events":[…]}
//	{"type":"changes","revision":9,"events":[…]}
//	{"type":"progress","revision":12}
//	{"type":"waiting","revision":12}
//	{"type":"compacted","revision":12,"compact_revision":40}
//	{"type":"end","revision":12,"code":"shutting_down","retryable":true,"detail":"…"}
//
// The first message is start, or with snapshot=true the state in parts and synced. Changes
// have all changes of a revision. If these are many, they come in parts, and all but the last
// part are partial. The revision of start, synced, progress, and of changes that are not
// partial, is one up to which the client has everything: it continues with from_revision one
// above it. Server-sent events have it as their id, so the Last-Event-ID of a browser that
// connects again continues the watch, on any node, and never inside a revision. waiting has the
// revision of a store that has not reached from_revision yet. compacted and end are the last
// messages, and their revision is one up to which the client has everything. A stream that ends
// without one of them was broken off.

const (
	// watchBuffer is the number of bytes of a stream that are collected before they are sent.
	watchBuffer = 8 << 10
	// streamedItems is the maximum number of events or items of a batch that is encoded while
	// it is sent, and kept until the client has taken it. Each of them may keep one or two
	// chunks of the store's memory, so larger batches are encoded before.
	streamedItems = 2
	// defaultWatchProgress is the progress of a watch that asks for none, so that
	// intermediaries do not take the connection for dead.
	defaultWatchProgress = 15 * time.Second
	// maxWatchProgress is the maximum of the parameter progress.
	maxWatchProgress = time.Hour
)

// watch answers GET and HEAD /watch.
func (s *Server) watch(w *response, r *http.Request) error {
	p, err := s.parseWatchParams(r)
	if err != nil {
		return err
	}
	ctx, done, err := s.beginStream(r.Context())
	if err != nil {
		return err
	}
	defer done()
	watch, err := s.beginWatch(ctx, p.options)
	if err != nil {
		return err
	}
	defer func() { _ = watch.Close() }() // always nil
	h := w.Header()
	if p.events {
		h.Set("Content-Type", "text/event-stream")
	} else {
		h.Set("Content-Type", linesType)
	}
	h.Set("Vary", "Accept")
	w.WriteHeader(http.StatusOK)
	if r.Method == http.MethodHead {
		return nil
	}
	out := &watchWriter{lineWriter: lineWriter{out: bufio.NewWriterSize(w, watchBuffer)}, events: p.events, w: w}
	if p.options.Snapshot { // whose view keeps replaced values in memory
		out.expires = time.Now().Add(s.cfg.ListTimeout)
		w.latest = out.expires.Add(s.cfg.StallTimeout) // the end must have been sent
	} else {
		out.begin("start", watch.Revision(), true)
		out.end()
	}
	if err := out.stream(ctx, watch); err != nil {
		panic(http.ErrAbortHandler) // the client is gone or too slow; it must not take this for the end
	}
	return nil
}

// beginWatch begins a watch, within RequestTimeout.
func (s *Server) beginWatch(ctx context.Context, options kv.WatchOptions) (kv.Watch, error) {
	begin, cancel := context.WithTimeout(ctx, s.cfg.RequestTimeout)
	defer cancel()
	watch, err := s.node.Watch(begin, options)
	if err != nil && errors.Is(context.Cause(ctx), kv.ErrClosed) {
		return nil, kv.ErrClosed
	}
	return watch, err
}

// watchWriter writes the messages of a watch.
type watchWriter struct {
	lineWriter
	w       *response
	events  bool      // as server-sent events
	expires time.Time // when the state must have been sent; zero once it was
}

// stream writes messages until the watch ends. It returns an error if the last message could
// not be written.
func (o *watchWriter) stream(ctx context.Context, watch kv.Watch) error {
	for {
		if cause := context.Cause(ctx); cause != nil { // also while there is more to write
			return o.last(watch.Revision(), cause)
		}
		if err := o.err(); err != nil {
			return err
		}
		if !o.expires.IsZero() && time.Now().After(o.expires) {
			return o.last(watch.Revision(), errStateEnded)
		}
		b, err := o.next(ctx, watch)
		if err != nil {
			if cause := context.Cause(ctx); cause != nil {
				err = cause
			}
			return o.last(watch.Revision(), err)
		}
		o.batch(&b)
	}
}

// next returns the next batch. What is written is sent before it waits for one.
func (o *watchWriter) next(ctx context.Context, watch kv.Watch) (kv.WatchBatch, error) {
	if o.out.Buffered() > 0 {
		if b, err := watch.Next(noTime); err == nil || !errors.Is(err, context.Canceled) {
			return b, err
		}
	}
	if err := o.flush(); err != nil {
		return kv.WatchBatch{}, err
	}
	return watch.Next(ctx)
}

// noTime is a context that has ended: Next with it does not wait.
var noTime = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

// flush sends what is written. What is written between two calls must pass as fast as a whole
// answer.
func (o *watchWriter) flush() error {
	err := o.out.Flush()
	if err == nil {
		err = o.w.flush()
	}
	if err != nil {
		return fmt.Errorf("write watch: %w", err)
	}
	o.w.progress = progress{stall: o.w.progress.stall} // the time without messages does not count
	return nil
}

// last writes the last message, if the client is to get one.
func (o *watchWriter) last(revision uint64, err error) error {
	p := classify(err, false)
	switch compacted := (*kv.CompactedError)(nil); {
	case errors.As(err, &compacted):
		o.begin("compacted", revision, false)
		o.number(`,"compact_revision":`, compacted.CompactRevision)
	case errors.Is(err, kv.ErrClosed), errors.Is(err, kv.ErrBehind), errors.Is(err, errStateEnded):
		o.begin("end", revision, false)
		o.raw(`,"code":"` + string(p.Code) + `"`)
		o.flag(`,"retryable":`, p.Retryable)
		o.raw(",")
		o.text("detail", []byte(p.Detail))
	default:
		return err
	}
	o.end()
	return o.flush()
}

// batch writes a batch as a message. It lets go of the batch before it waits for its client.
func (o *watchWriter) batch(b *kv.WatchBatch) {
	if b.Kind == kv.WatchSynced {
		o.w.latest, o.expires = time.Time{}, time.Time{}
	}
	switch {
	case b.Forms != nil:
		_, _ = o.out.Write(b.Forms.Get(o.form(), func() []byte { return o.encoded(b) })) // see raw
	case len(b.Events)+len(b.Items) > streamedItems:
		message := o.encoded(b)
		*b = kv.WatchBatch{}
		_, _ = o.out.Write(message) // see raw
	default:
		o.message(b)
	}
}

// form is the name of the stream's encoding.
func (o *watchWriter) form() string {
	if o.events {
		return "httpapi events"
	}
	return "httpapi lines"
}

// encoded returns the message of a batch.
func (o *watchWriter) encoded(b *kv.WatchBatch) []byte {
	var message bytes.Buffer
	e := watchWriter{lineWriter: lineWriter{out: bufio.NewWriter(&message)}, events: o.events}
	e.message(b)
	_ = e.out.Flush() // a buffer has no errors
	return message.Bytes()
}

// message writes the message of a batch.
func (o *watchWriter) message(b *kv.WatchBatch) {
	switch b.Kind {
	case kv.WatchState:
		o.begin("state", b.Revision, false)
		o.raw(`,"items":[`)
		for i := range b.Items {
			o.separate(i)
			o.item(&b.Items[i], false)
		}
		o.raw("]")
	case kv.WatchSynced:
		o.begin("synced", b.Revision, true)
	case kv.WatchProgress:
		o.begin("progress", b.Revision, true)
	case kv.WatchWaiting:
		o.begin("waiting", b.Revision, false)
	case kv.WatchChanges:
		o.begin("changes", b.Revision, !b.Partial)
		if b.Partial {
			o.raw(`,"partial":true`)
		}
		o.raw(`,"events":[`)
		for i := range b.Events {
			o.separate(i)
			o.event(&b.Events[i])
		}
		o.raw("]")
	}
	o.end()
}

// begin writes the beginning of a message. The revision is the event's id if the client has
// everything up to it.
func (o *watchWriter) begin(kind string, revision uint64, isID bool) {
	if o.events {
		if isID {
			o.number("id: ", revision)
			o.raw("\n")
		}
		o.raw("event: " + kind + "\ndata: ")
	}
	o.number(`{"type":"`+kind+`","revision":`, revision)
}

// end writes the end of a message.
func (o *watchWriter) end() {
	o.raw("}\n")
	if o.events {
		o.raw("\n")
	}
}

// separate writes a comma before all elements of a list but the first.
func (o *watchWriter) separate(i int) {
	if i > 0 {
		o.raw(",")
	}
}

// event writes a change.
func (o *watchWriter) event(e *kv.Event) {
	o.raw(`{"op":"` + e.Kind.String() + `",`)
	if e.Kind == kv.EventPut {
		o.members(&e.Item, false)
	} else {
		o.key("key", e.Item.Key)
		o.number(`,"mod_revision":`, e.Item.ModRevision)
	}
	if e.Prev != nil {
		o.raw(`,"prev":`)
		o.item(e.Prev, false)
	}
	o.raw("}")
}
