package httpapi

import (
	"context"
	"net/http"
	"strconv"
	"strings"

	"github.com/kvorum/kvorum/kv"
)

// keyOf returns the key in r's path: everything after "/kv/", decoded once, as r.URL.Path
// is. The route was matched with the encoded path, so the slashes of "/kv/" were not
// encoded ones.
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

// put answers PUT /kv/{key}: 201 if it made the key, 204 if it replaced its value. takeBody
// counts it among the requests in flight.
func (s *Server) put(w *response, r *http.Request) error {
	key, conditions, err := s.writeParams(r)
	if err != nil {
		return err
	}
	if len(r.Header.Values("Content-Range")) > 0 {
		// If a part were taken for the whole value, the rest would be lost (RFC 9110,
		// section 14.5).
		return &kv.ValidationError{Field: "Content-Range", Reason: "values can only be put whole"}
	}
	if err := w.checkLength(r, true); err != nil {
		return err
	}
	value, room, err := s.takeBody(w, r, "value", int64(s.cfg.MaxValueBytes), 1)
	if err != nil {
		return err
	}
	defer room.release()
	ctx, cancel := context.WithTimeout(s.ctx, s.cfg.RequestTimeout)
	defer cancel()
	existed, err := s.do(ctx, w, kv.Put(key, value, conditions...))
	if err != nil {
		return err
	}
	if existed {
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	w.Header().Set("Content-Length", "0")
	w.WriteHeader(http.StatusCreated)
	return nil
}

// delete answers DELETE /kv/{key}: 204, or 404 if there was no such key.
func (s *Server) delete(w *response, r *http.Request) error {
	key, conditions, err := s.writeParams(r)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(s.ctx, s.cfg.RequestTimeout)
	defer cancel()
	existed, err := s.do(ctx, w, kv.Delete(key, conditions...))
	if err != nil {
		return err
	}
	if !existed {
		return errKeyNotFound
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// do makes the node carry out a write of one key, and describes the outcome in the answer's
// headers. It returns whether the key existed before. If the condition did not hold, it
// returns errPrecondition.
func (s *Server) do(ctx context.Context, w *response, write kv.Request) (existed bool, err error) {
	done, err := s.node.Do(ctx, write)
	if err != nil {
		return false, err
	}
	key := done.Results[0]
	setRevisions(w.Header(), done.Revision, key.ModRevision)
	if !done.Succeeded {
		return key.Existed, errPrecondition
	}
	return key.Existed, nil
}

// writeParams returns the key and the conditions of a write.
func (s *Server) writeParams(r *http.Request) (key string, conditions []kv.Compare, err error) {
	if _, err = parseQuery(r.URL.RawQuery); err != nil {
		return "", nil, err
	}
	if key, err = s.keyOf(r); err != nil {
		return "", nil, err
	}
	conditions, err = writeConditions(r.Header, key)
	return key, conditions, err
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
	setReadHeaders(w.Header(), result.Revision, result.Item.ModRevision, options.Level)
	if !result.Found {
		return errKeyNotFound
	}
	return writeItem(w, cond, result)
}

// writeItem answers a read of a key that exists.
func writeItem(w *response, cond readCond, result kv.ReadResult) error {
	h := w.Header()
	if !cond.match.holds(result.Item.ModRevision) {
		return errPrecondition
	}
	// A cache may keep the answer, but must revalidate it with the ETag for each request.
	// So a cache does not weaken the consistency of a read.
	h.Set("Cache-Control", "no-cache")
	if cond.noneMatch.given && cond.noneMatch.holds(result.Item.ModRevision) {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	writeBody(w, http.StatusOK, "application/octet-stream", result.Item.Value)
	return nil
}

// setReadHeaders describes the outcome of a read: the revision of the store that it shows,
// that of its key's last change, 0 if there is no such key, and its level of consistency.
func setReadHeaders(h http.Header, revision, modRevision uint64, level kv.Consistency) {
	setRevisions(h, revision, modRevision)
	h.Set("Kvorum-Consistency", string(level))
}

// setRevisions sets the headers with the revision of the store that an answer shows, and
// with that of the key's last change, 0 if there is no such key.
func setRevisions(h http.Header, revision, modRevision uint64) {
	// Both values share one string and one slice, since every read and every write calls
	// this.
	text := make([]byte, 0, 2*20+2)
	if modRevision != 0 {
		text = append(strconv.AppendUint(append(text, '"'), modRevision, 10), '"')
	}
	n := len(text)
	both := string(strconv.AppendUint(text, revision, 10))
	values := []string{both[n:], both[:n]}
	h["Kvorum-Revision"] = values[:1:1]
	if modRevision != 0 {
		h["ETag"] = values[1:] // not Set, which would write "Etag"
	}
}
