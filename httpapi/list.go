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

// A list is a stream of JSON lines, one per key, in byte order of the keys. All are from
// one view, whose revision is in Kvorum-Revision. The last line shows that the list is
// complete, and has the number of keys:
//
//	{"key":"a","value":"x","create_revision":1,"mod_revision":4,"version":2}
//	{"key_b64":"/w==","value_b64":"AP8=","create_revision":5,"mod_revision":5,"version":1}
//	{"end":true,"count":2}
//
// A key or value that is not valid UTF-8 is sent as base64 in another member. If limit cuts
// the list, the last line also has "next" (or "next_b64"), the first key of the rest, for
// start of the next request. The trailer Kvorum-Next has the same key, percent-encoded for
// a query. Each page is a view of its own.
//
// A stream that fails ends without the last line and, over HTTP/1.1, without the last
// chunk, so every client can see that it is not complete. It fails when its client takes
// too little (see minRate), and after ListTimeout, because its view keeps replaced values
// in memory.

// nextTrailer is the name of the trailer with the first key of the next page.
const nextTrailer = "Kvorum-Next"

// listBuffer is the number of bytes of a list that are collected before they are sent. A
// stream takes no other memory, because values are encoded directly into it.
const listBuffer = 32 << 10

// listParams are the parameters of a list.
type listParams struct {
	prefix, start string
	limit         int // 0 means no limit
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

// streamList writes the lines, and the first key of the next page if limit cut the list.
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

// escapeQuery encodes s so that it is decoded to the same bytes in a query and in a path: a
// space must not become "+".
func escapeQuery(s string) string {
	return strings.ReplaceAll(url.QueryEscape(s), "+", "%20")
}
