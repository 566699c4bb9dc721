package httpapi

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/kvorum/kvorum/internal/api"
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
	case len(key) > s.maxKey():
		return "", tooLarge("key", "has", int64(len(key)), int64(s.maxKey()))
	}
	return key, nil
}

// put answers PUT /kv/{key}: 201 if it made the key, 204 if it replaced its value. With
// op=getset it answers 200 with the value that it replaced.
func (s *Server) put(w *response, r *http.Request) error {
	query, err := parseQuery(r.URL.RawQuery, "op", "ttl", "lease")
	if err != nil {
		return err
	}
	write, err := s.keyWrite(r, query, putForms)
	if err != nil {
		return err
	}
	return s.putBody(w, r, write)
}

// putBody sets a key to the body of r. takeBody counts it among the requests in flight.
func (s *Server) putBody(w *response, r *http.Request, write keyWrite) error {
	contentType, flags, err := attributes(r.Header)
	if err != nil {
		return err
	}
	value, room, err := s.takeValue(w, r)
	if err != nil {
		return err
	}
	defer room.release()
	put := write.request(kv.OpPut)
	op := &put.Then[0]
	op.Lease = write.lease
	op.Value, op.ContentType, op.Flags, op.WantPrev = value, contentType, flags, write.form == opGetSet
	result, err := s.do(w, put)
	switch {
	case err != nil:
		return err
	case result.Prev != nil:
		return writePrevious(w, result.Prev)
	case result.Existed:
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	w.Header().Set("Content-Length", "0")
	w.WriteHeader(http.StatusCreated)
	return nil
}

// takeValue reads a body that is a value.
func (s *Server) takeValue(w *response, r *http.Request) ([]byte, *receipt, error) {
	if len(r.Header.Values("Content-Range")) > 0 {
		// If a part were taken for the whole value, the rest would be lost (RFC 9110,
		// section 14.5).
		return nil, nil, invalidField("Content-Range", "values can only be put whole")
	}
	if err := w.checkLength(r, true); err != nil {
		return nil, nil, err
	}
	return s.takeBody(w, r, "value", int64(s.maxValue()), 1)
}

// delete answers DELETE /kv/{key}: 204, or 404 if there was no such key. With op=getdel it
// answers 200 with the value that was removed.
func (s *Server) delete(w *response, r *http.Request) error {
	query, err := parseQuery(r.URL.RawQuery, "op")
	if err != nil {
		return err
	}
	write, err := s.keyWrite(r, query, deleteForms)
	if err != nil {
		return err
	}
	return s.deleteKey(w, write)
}

// deleteKey removes a key, and answers with its value if the form is opGetDel.
func (s *Server) deleteKey(w *response, write keyWrite) error {
	wantValue := write.form == opGetDel
	request := kv.Delete(write.key, write.conditions...)
	request.Then[0].WantPrev = wantValue
	result, err := s.do(w, request)
	switch {
	case err != nil:
		return err
	case !result.Existed:
		return errKeyNotFound
	case wantValue:
		return writePrevious(w, &result.Items[0])
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// previousHeader is the header with the modify revision of a value that was replaced or
// removed.
const previousHeader = "Kvorum-Previous-Revision"

// writePrevious answers with the value that a key had before the request.
func writePrevious(w *response, previous *kv.Item) error {
	h := w.Header()
	h.Set(previousHeader, strconv.FormatUint(previous.ModRevision, 10))
	setFlags(h, previous.Flags)
	writeBody(w, http.StatusOK, contentTypeOf(previous), previous.Value)
	return nil
}

// do makes the node carry out a write of one key, and describes the outcome in the answer's
// headers. If the condition did not hold, it returns errPrecondition. The write runs to its
// end even if the client disconnects.
func (s *Server) do(w *response, write kv.Request) (kv.Result, error) {
	write.IdempotencyKey = w.idempotencyKey
	if err := s.expectAnswer(w, &write); err != nil {
		return kv.Result{}, err
	}
	ctx, cancel := context.WithTimeout(s.ctx, s.cfg.RequestTimeout)
	defer cancel()
	done, err := s.node.Do(ctx, write)
	if err != nil {
		return kv.Result{}, err
	}
	s.answerHas(w, &done)
	result := done.Results[0]
	setReplayed(w.Header(), done.Replayed)
	setRevisions(w.Header(), done.Revision, result.ModRevision)
	setDeadline(w.Header(), result.Deadline)
	if !done.Succeeded {
		return result, errPrecondition
	}
	return result, nil
}

// keyWrite is a write of one key as its parameters and headers describe it.
type keyWrite struct {
	key        string
	conditions []kv.Compare
	form       string        // the parameter op, "" if it is missing
	ttl        time.Duration // the parameter ttl, 0 if it is missing
	lease      kv.LeaseID    // the parameter lease, 0 if it is missing
}

// The forms of PUT and of DELETE.
var (
	putForms    = []string{opGetSet}
	deleteForms = []string{opGetDel}
)

// keyWrite returns the write of a request, whose form must be one of forms.
func (s *Server) keyWrite(r *http.Request, q query, forms []string) (write keyWrite, err error) {
	if write.form, err = q.form(forms); err != nil {
		return write, err
	}
	if write.ttl, err = q.ttl(write.form); err != nil {
		return write, err
	}
	if write.lease, err = q.lease(write.form); err != nil {
		return write, err
	}
	if write.key, err = s.keyOf(r); err != nil {
		return write, err
	}
	write.conditions, err = writeConditions(r.Header, write.key)
	return write, err
}

// request returns a request with one operation on the key.
func (k *keyWrite) request(kind kv.OpKind) kv.Request {
	return kv.Request{If: k.conditions, Then: []kv.Op{{Kind: kind, Key: k.key, TTL: k.ttl}}}
}

// get answers GET and HEAD /kv/{key}. With the parameter wait it is a long poll, which does not
// count among the requests in flight.
func (s *Server) get(w *response, r *http.Request) error {
	query, err := parseQuery(r.URL.RawQuery, keyParams...)
	if err != nil {
		return err
	}
	if _, waits := query["wait"]; waits {
		return s.poll(w, r, query)
	}
	if !s.budget.takeRequest() {
		return kv.ErrOverloaded
	}
	defer s.budget.putRequest()
	return s.getNow(w, r, query)
}

// getNow answers a read of a key that does not wait for changes.
func (s *Server) getNow(w *response, r *http.Request, query query) error {
	if _, given := query["newer_than"]; given {
		return invalidParam("newer_than", "is for reads with wait")
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
	result, err := s.read(r.Context(), key, options)
	if err != nil {
		return err
	}
	setReadHeaders(w.Header(), result.Revision, &result.Item, options.Level)
	if options.Revision == 0 {
		setTimeLeft(w.Header(), &result)
	}
	if !result.Found {
		return errKeyNotFound
	}
	return writeItem(w, cond, result)
}

// read makes the node read a key, within RequestTimeout.
func (s *Server) read(parent context.Context, key string, options kv.ReadOptions) (kv.ReadResult, error) {
	ctx, cancel := context.WithTimeout(parent, s.cfg.RequestTimeout)
	defer cancel()
	return s.node.Get(ctx, key, options)
}

// writeItem answers a read of a key that exists.
func writeItem(w *response, cond readCond, result kv.ReadResult) error {
	h := w.Header()
	if !cond.match.holds(result.Item.ModRevision) {
		return errPrecondition
	}
	// A cache may keep the answer, but must revalidate it with the ETag for each request.
	// So a cache does not weaken the consistency of a read.
	h["Cache-Control"] = revalidate
	if cond.noneMatch.given && cond.noneMatch.holds(result.Item.ModRevision) {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	setFlags(h, result.Item.Flags)
	writeBody(w, http.StatusOK, contentTypeOf(&result.Item), result.Item.Value)
	return nil
}

// setFlags sets the header with the flags of a key, unless they are 0.
func setFlags(h http.Header, flags uint32) {
	if flags != 0 {
		h.Set(flagsHeader, strconv.FormatUint(uint64(flags), 10))
	}
}

// setReadHeaders describes the outcome of a read: the revision of the store that it shows,
// the revisions and the version of the key, which are 0 if there is no such key, and its
// level of consistency.
func setReadHeaders(h http.Header, revision uint64, item *kv.Item, level kv.Consistency) {
	if item.ModRevision == 0 {
		setNumbers(h, numberHeader{revisionHeader, revision})
	} else {
		setNumbers(h, numberHeader{revisionHeader, revision}, numberHeader{etagHeader, item.ModRevision},
			numberHeader{"Kvorum-Create-Revision", item.CreateRevision}, numberHeader{"Kvorum-Version", item.Version})
	}
	h["Kvorum-Consistency"] = levelValues[level]
	setDeadline(h, item.Deadline)
	setLease(h, item.Lease)
}

// leaseHeader is the header with the lease of a key.
const leaseHeader = "Kvorum-Lease"

// setLease sets the header with the lease of a key, unless it is 0.
func setLease(h http.Header, id kv.LeaseID) {
	if id != 0 {
		h.Set(leaseHeader, api.FormatLease(id))
	}
}

// setDeadline sets the header with the deadline of a key, unless it is 0.
func setDeadline(h http.Header, deadline int64) {
	if deadline != 0 {
		h.Set(deadlineHeader, api.FormatDeadline(deadline))
	}
}

// setTimeLeft sets the header with what is left of the time to live of a key that was read in
// the newest state.
func setTimeLeft(h http.Header, result *kv.ReadResult) {
	if deadline := result.Item.Deadline; deadline != 0 {
		h.Set(timeLeftHeader, strconv.FormatInt(timeLeft(deadline, result.Clock), 10))
	}
}

// timeLeft returns the whole milliseconds from a reading of the cluster clock to a deadline. A
// reading is rounded down, and a deadline is made of the clock rounded up. So without the part of
// a millisecond that has passed since the reading, more would be left of a new key than its time
// to live.
func timeLeft(deadline, clock int64) int64 { return max(0, deadline-clock-1) }

// Headers with the deadline of a key, and with the whole milliseconds from the cluster clock of
// the state that was read to it.
const (
	deadlineHeader = "Kvorum-Expires-At"
	timeLeftHeader = "Kvorum-Expires-In-Ms"
)

// Values of headers that all answers to reads share; see middleware.
var (
	levelValues = map[kv.Consistency][]string{
		kv.Linearizable: {string(kv.Linearizable)}, kv.LeaderLocal: {string(kv.LeaderLocal)}, kv.Stale: {string(kv.Stale)},
	}
	revalidate = []string{"no-cache"}
)

// setRevisions sets the headers with the revision of the store that an answer shows, and
// with that of the key's last change, 0 if there is no such key.
func setRevisions(h http.Header, revision, modRevision uint64) {
	if modRevision == 0 {
		setNumbers(h, numberHeader{revisionHeader, revision})
		return
	}
	setNumbers(h, numberHeader{revisionHeader, revision}, numberHeader{etagHeader, modRevision})
}

const (
	revisionHeader = "Kvorum-Revision"
	etagHeader     = "ETag" // not "Etag", as Header.Set would write it
)

// numberHeader is a header whose value is a number, in quotes if it is an ETag.
type numberHeader struct {
	name   string // as it is written
	number uint64
}

// setNumbers sets at most 4 headers. Their values share one string and one slice, since
// every read and every write calls this.
func setNumbers(h http.Header, headers ...numberHeader) {
	var ends [4]int
	text := make([]byte, 0, len(ends)*(20+2))
	for i, header := range headers {
		if header.name == etagHeader {
			text = append(strconv.AppendUint(append(text, '"'), header.number, 10), '"')
		} else {
			text = strconv.AppendUint(text, header.number, 10)
		}
		ends[i] = len(text)
	}
	all, begin := string(text), 0
	values := make([]string, len(headers))
	for i, header := range headers {
		values[i] = all[begin:ends[i]]
		h[header.name] = values[i : i+1 : i+1]
		begin = ends[i]
	}
}
