package httpapi

import (
	"context"
	"net/http"
	"strconv"
	"strings"

	"github.com/kvorum/kvorum/cluster"
	"github.com/kvorum/kvorum/kv"
)

// keyOf returns the key that r's path names: what follows "/kv/", decoded once,
// which r.URL.Path is. The route matched on the encoded path, so the slashes of
// the prefix are the path's own.
func (s *Server) keyOf(r *http.Request) (string, error) {
	key := strings.TrimPrefix(r.URL.Path, "/kv/")
	switch {
	case key == "":
		return "", &kv.ValidationError{Field: "key", Reason: "must not be empty"}
	case len(key) > s.cfg.MaxKeyBytes:
		return "", tooLarge("key", "has", int64(len(key)), int64(s.cfg.MaxKeyBytes))
	}
	return key, nil
}

// put answers PUT /kv/{key}: 201 where it made the key, 204 where it replaced its value.
// takeBody bounds it among the requests in flight.
func (s *Server) put(w *response, r *http.Request) error {
	key, cond, err := s.writeParams(r)
	if err != nil {
		return err
	}
	if len(r.Header.Values("Content-Range")) > 0 {
		// Taking a part for the whole would destroy the rest (RFC 9110, section 14.5).
		return &kv.ValidationError{Field: "Content-Range", Reason: "values can only be put whole"}
	}
	if err := w.checkLength(r, true); err != nil {
		return err
	}
	value, release, err := s.takeBody(w, r, "value", int64(s.cfg.MaxValueBytes), 1)
	if err != nil {
		return err
	}
	defer release()
	ctx, cancel := context.WithTimeout(s.ctx, s.cfg.RequestTimeout)
	defer cancel()
	result, err := s.node.Put(ctx, key, value, cond)
	if err != nil {
		return err
	}
	setWriteHeaders(w.Header(), result)
	if result.ConditionFailed {
		return errPrecondition
	}
	if !result.Created {
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	w.Header().Set("Content-Length", "0")
	w.WriteHeader(http.StatusCreated)
	return nil
}

// delete answers DELETE /kv/{key}: 204, or 404 where there was no such key.
func (s *Server) delete(w *response, r *http.Request) error {
	key, cond, err := s.writeParams(r)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(s.ctx, s.cfg.RequestTimeout)
	defer cancel()
	result, err := s.node.Delete(ctx, key, cond)
	if err != nil {
		return err
	}
	setWriteHeaders(w.Header(), result)
	switch {
	case result.ConditionFailed:
		return errPrecondition
	case !result.Found:
		return errKeyNotFound
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// writeParams returns what a write names beside its value.
func (s *Server) writeParams(r *http.Request) (key string, cond cluster.Condition, err error) {
	if _, err = parseQuery(r.URL.RawQuery); err != nil {
		return "", cond, err
	}
	if key, err = s.keyOf(r); err != nil {
		return "", cond, err
	}
	cond, err = writeCondition(r.Header)
	return key, cond, err
}

// get answers GET and HEAD /kv/{key}.
func (s *Server) get(w *response, r *http.Request) error {
	query, err := parseQuery(r.URL.RawQuery, readParams...)
	if err != nil {
		return err
	}
	options, err := query.readOptions()
	if err != nil {
		return err
	}
	key, err := s.keyOf(r)
	if err != nil {
		return err
	}
	cond, err := readCondition(r.Header)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), s.cfg.RequestTimeout)
	defer cancel()
	result, err := s.node.Get(ctx, key, options)
	if err != nil {
		return err
	}
	setReadHeaders(w.Header(), result.Revision, options.Level)
	if !result.Found {
		return errKeyNotFound
	}
	return writeItem(w, cond, result)
}

// writeItem answers a read of a key that exists.
func writeItem(w *response, cond readCond, result kv.ReadResult) error {
	h := w.Header()
	setETag(h, result.Item.ModRevision)
	if !cond.match.holds(result.Item.ModRevision) {
		return errPrecondition
	}
	// May be kept, and must be asked for again each time, with the ETag: a cache
	// in between does not weaken what a read promises.
	h.Set("Cache-Control", "no-cache")
	if cond.noneMatch.given && cond.noneMatch.holds(result.Item.ModRevision) {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	writeBody(w, http.StatusOK, "application/octet-stream", result.Item.Value)
	return nil
}

// setWriteHeaders describes the outcome of a write.
func setWriteHeaders(h http.Header, result cluster.WriteResult) {
	setRevision(h, result.Revision)
	setETag(h, result.Current)
}

// setReadHeaders describes the outcome of a read.
func setReadHeaders(h http.Header, revision uint64, level kv.Consistency) {
	setRevision(h, revision)
	h.Set("Kvorum-Consistency", string(level))
}

// setRevision says which revision of the store an answer shows.
func setRevision(h http.Header, revision uint64) {
	h.Set("Kvorum-Revision", strconv.FormatUint(revision, 10))
}

// setETag says what revision changed the key last; 0 means that there is no such key.
func setETag(h http.Header, revision uint64) {
	if revision != 0 {
		// Not Set, which would spell it "Etag".
		h["ETag"] = []string{`"` + strconv.FormatUint(revision, 10) + `"`}
	}
}
