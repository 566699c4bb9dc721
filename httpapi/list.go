package httpapi

import (
	"bufio"
	"context"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/kvorum/kvorum/kv"
)

// A list has the keys of a range in byte order, or in the order that sort and reverse ask
// for. All are from one view, whose revision is in Kvorum-Revision. It is an object of JSON,
// or JSON lines if the client asks for application/x-ndjson in Accept:
//
//	{"revision":9,"items":[
//	{"key":"a","value":"x","create_revision":1,"mod_revision":4,"version":2},
//	{"key_b64":"/w==","value_b64":"AP8=","create_revision":5,"mod_revision":5,"version":1}
//	],"end":true,"count":2}
//
//	{"key":"a","value":"x","create_revision":1,"mod_revision":4,"version":2}
//	{"key_b64":"/w==","value_b64":"AP8=","create_revision":5,"mod_revision":5,"version":1}
//	{"end":true,"count":2}
//
// A key with a deadline has it in "expires_at". In a list of the newest state it also has the
// milliseconds that are left, by the clock of the view, in "ttl_ms".
//
// A key or value that is not valid UTF-8 is sent as base64 in another member. With a
// delimiter, all keys that have it after the prefix, and are the same up to it, are one entry:
// {"prefix":"a/"}.
//
// The end says that the answer is complete, and has the number of entries. If limit cuts the
// list, the end also has "cursor": the same request with it continues at the same revision.
// If the list is in byte order, the end has "next" (or "next_b64") too, the first key of the
// rest. The trailers Kvorum-Cursor and Kvorum-Next have the same, percent-encoded for a
// query.
//
// A view keeps replaced values in memory, so a list ends after ListTimeout, or when the node
// closes the view. Then its end has "end":false, an "error", and the cursor of the rest. A
// stream that fails in another way has no end and, over HTTP/1.1, no last chunk, so every
// client can see that it is not complete. It fails when its client takes too little (see
// minRate).

// Trailers of a list.
const (
	nextTrailer   = "Kvorum-Next"   // the first key of the next page
	cursorTrailer = "Kvorum-Cursor" // the cursor of the next page
)

// listBuffer is the number of bytes of a list that are collected before they are sent. A
// stream in order of keys takes no other memory, because values are encoded directly into it.
const listBuffer = 32 << 10

// list answers GET and HEAD /kv/.
func (s *Server) list(w *response, r *http.Request) error {
	p, err := s.listParams(r.URL.RawQuery)
	if err != nil {
		return err
	}
	if err := refuseConditions(r.Header, "is not for a list"); err != nil {
		return err
	}
	view, err := s.view(r, p.options)
	if err != nil {
		return err
	}
	defer func() { _ = view.Close() }() // always nil
	contentType := listType(r.Header)
	h := w.Header()
	setReadHeaders(h, view.Revision(), &kv.Item{}, p.options.Level)
	h.Set("Content-Type", contentType)
	h.Set("Vary", "Accept")
	if r.Method == http.MethodHead {
		w.WriteHeader(http.StatusOK)
		return nil
	}
	h.Set("Trailer", cursorTrailer+", "+nextTrailer)
	end := time.Now().Add(s.cfg.ListTimeout)
	w.latest = end.Add(s.cfg.StallTimeout) // the end must have been sent
	w.WriteHeader(http.StatusOK)
	l := listing{
		params: p, view: view, ctx: r.Context(), expires: end, header: h, asLines: contentType == linesType,
		lines: lineWriter{out: bufio.NewWriterSize(w, listBuffer)},
	}
	if err := l.write(); err != nil {
		// The client disconnected or stalled, or the server stops. The reason does not
		// matter, but the client must not take this for a whole list.
		panic(http.ErrAbortHandler)
	}
	return nil
}

// view asks the node for a view, within RequestTimeout.
func (s *Server) view(r *http.Request, options kv.ReadOptions) (kv.View, error) {
	ctx, cancel := context.WithTimeout(r.Context(), s.cfg.RequestTimeout)
	defer cancel()
	return s.node.View(ctx, options)
}

// listing is a list that is being written.
type listing struct {
	params  listParams
	view    kv.View
	ctx     context.Context
	expires time.Time // when the list must end
	header  http.Header
	asLines bool
	lines   lineWriter

	count int
	last  *place // of the last entry that was written, or where the list began
	next  string // the first key of the rest, if limit cut a list in byte order
	more  bool   // limit cut the list
	err   error  // why the list ends early
}

// write writes the list. Its error means that the answer is broken.
func (l *listing) write() error {
	l.last = l.params.after
	if !l.asLines {
		l.lines.number(`{"revision":`, l.view.Revision())
	}
	switch {
	case l.params.countOnly:
		l.count = l.view.Count(l.params.span())
	case sortKeys[l.params.sort] != nil:
		l.begin()
		l.writeSorted()
	default:
		l.begin()
		l.writeOrdered()
	}
	if err := l.view.Err(); err != nil {
		l.err = errViewEnded
	}
	if err := l.ctx.Err(); err != nil {
		return err
	}
	l.end()
	return l.lines.out.Flush()
}

// begin writes what comes before the first entry.
func (l *listing) begin() {
	if !l.asLines {
		l.lines.raw(`,"items":[`)
	}
}

// goesOn reports whether the list may continue, after an entry that the view has yielded.
func (l *listing) goesOn() bool {
	if time.Now().After(l.expires) {
		l.err = errViewEnded
	}
	return l.err == nil && l.ctx.Err() == nil && l.lines.err() == nil
}

// writeItem writes an entry that is a key.
func (l *listing) writeItem(item *kv.Item, at place) {
	l.separate()
	l.lines.raw("{")
	l.lines.members(item, l.params.keysOnly)
	if item.Deadline != 0 && l.params.options.Revision == 0 {
		l.lines.signed(`,"ttl_ms":`, timeLeft(item.Deadline, l.view.Clock()))
	}
	l.lines.raw("}")
	l.written(at)
}

// writePrefix writes an entry that is the common prefix of several keys.
func (l *listing) writePrefix(prefix string) {
	l.separate()
	l.lines.raw("{")
	l.lines.key("prefix", prefix)
	l.lines.raw("}")
	l.written(place{key: prefix})
}

// separate ends the entry before.
func (l *listing) separate() {
	switch {
	case l.asLines:
	case l.count == 0:
		l.lines.raw("\n")
	default:
		l.lines.raw(",\n")
	}
}

func (l *listing) written(at place) {
	if l.asLines {
		l.lines.raw("\n")
	}
	l.count++
	l.last = &at
}

// end writes the end of the list.
func (l *listing) end() {
	switch {
	case l.asLines:
		l.lines.raw("{")
	case l.params.countOnly:
		l.lines.raw(",")
	case l.count > 0:
		l.lines.raw("\n],")
	default:
		l.lines.raw("],")
	}
	l.lines.flag(`"end":`, l.err == nil)
	l.lines.number(`,"count":`, uint64(l.count))
	if l.next != "" {
		l.lines.raw(",")
		l.lines.key("next", l.next)
		l.header.Set(nextTrailer, escapeQuery(l.next))
	}
	if (l.more || l.err != nil) && l.last != nil {
		cursor := l.params.cursor(l.view.Revision(), max(l.params.hidden, l.view.Hidden()), *l.last)
		l.lines.raw(`,"cursor":"` + cursor + `"`)
		l.header.Set(cursorTrailer, cursor)
	}
	if l.err != nil {
		l.lines.raw(`,"error":`)
		l.lines.raw(string(problemJSON(classify(l.err, false))))
	}
	l.lines.raw("}\n")
}

// escapeQuery encodes s so that it is decoded to the same bytes in a query and in a path: a
// space must not become "+".
func escapeQuery(s string) string {
	return strings.ReplaceAll(url.QueryEscape(s), "+", "%20")
}
