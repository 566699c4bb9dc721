package httpapi

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/kvorum/kvorum/kv"
)

// A list is a stream of JSON lines, one per key in byte order, all of the view
// that Kvorum-Revision names, and a last line that says that it is complete and
// how many keys came before it:
//
//	{"key":"a","value":"x","create_revision":1,"mod_revision":4,"version":2}
//	{"key_b64":"/w==","value_b64":"AP8=","create_revision":5,"mod_revision":5,"version":1}
//	{"end":true,"count":2}
//
// A key or value that is not valid UTF-8 comes as base64 in a member of its
// own. The last line of a list that limit cuts also has "next" (or "next_b64"),
// the first key of the rest, which is what start must be; so has the trailer
// Kvorum-Next, percent-encoded as a query takes it. Each page is a view of its own.
//
// A stream that fails is broken off, without the last line and, over HTTP/1.1,
// without the last chunk: so every client can tell it from a whole one. It fails
// when its client takes too little (see minRate), or after ListTimeout: a view
// keeps every value that is replaced meanwhile in memory.

// nextTrailer is the trailer that names the first key of the next page.
const nextTrailer = "Kvorum-Next"

// listBuffer is how much of a list is put together before it is sent. It is all
// the memory that a stream takes: values are encoded straight into it.
const listBuffer = 32 << 10

// listParams is what a list is asked for.
type listParams struct {
	prefix, start string
	limit         int // 0 means all
	keysOnly      bool
	options       kv.ReadOptions
}

// parseListParams returns the parameters in a query string.
func parseListParams(raw string) (listParams, error) {
	q, err := parseQuery(raw, slices.Concat(readParams, []string{"prefix", "start", "limit", "keys_only"})...)
	if err != nil {
		return listParams{}, err
	}
	p := listParams{prefix: q["prefix"], start: q["start"]}
	if p.limit, err = q.positive("limit"); err != nil {
		return listParams{}, err
	}
	if p.keysOnly, err = q.flag("keys_only"); err != nil {
		return listParams{}, err
	}
	p.options, err = q.readOptions()
	return p, err
}

// list answers GET and HEAD /kv/.
func (s *Server) list(w *response, r *http.Request) error {
	p, err := parseListParams(r.URL.RawQuery)
	if err != nil {
		return err
	}
	view, err := s.view(r, p.options)
	if err != nil {
		return err
	}
	h := w.Header()
	setReadHeaders(h, view.Revision(), 0, p.options.Level)
	h.Set("Content-Type", "application/x-ndjson")
	if r.Method == http.MethodHead {
		w.WriteHeader(http.StatusOK)
		return nil
	}
	h.Set("Trailer", nextTrailer)
	w.latest = time.Now().Add(s.cfg.ListTimeout)
	w.WriteHeader(http.StatusOK)
	if err := streamList(r.Context(), w, view, p); err != nil {
		// The client hung up or stalled, or the server closes: nobody needs to
		// know why, but nobody may take this for a whole list.
		panic(http.ErrAbortHandler)
	}
	return nil
}

// view asks the node for a view, within the time of a read.
func (s *Server) view(r *http.Request, options kv.ReadOptions) (kv.View, error) {
	ctx, cancel := context.WithTimeout(r.Context(), s.cfg.RequestTimeout)
	defer cancel()
	return s.node.View(ctx, options)
}

// streamList writes the lines, and says where the next page starts if limit cut them.
func streamList(ctx context.Context, w *response, view kv.View, p listParams) error {
	lines := lineWriter{out: bufio.NewWriterSize(w, listBuffer), keysOnly: p.keysOnly}
	sent, next := 0, ""
	for item := range view.Range(p.prefix, p.start) {
		if p.limit > 0 && sent == p.limit {
			next = item.Key
			w.Header().Set(nextTrailer, escapeQuery(next))
			break
		}
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("list keys: %w", err)
		}
		if err := lines.write(item); err != nil {
			return fmt.Errorf("write list: %w", err)
		}
		sent++
	}
	if err := lines.end(sent, next); err != nil {
		return fmt.Errorf("write the end of a list: %w", err)
	}
	return lines.out.Flush()
}

// escapeQuery encodes s so that it decodes to the same bytes as a query
// parameter and as a path: a space must not become "+".
func escapeQuery(s string) string {
	return strings.ReplaceAll(url.QueryEscape(s), "+", "%20")
}
