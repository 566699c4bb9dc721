package httpapi

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/kvorum/kvorum/kv"
)

// A long poll is a read of a key with the parameter wait. It is answered as soon as the key
// differs from what the client has, and with 304 if that takes longer than wait. The client
// says what it has by newer_than, a Kvorum-Revision of an earlier answer, or by
// If-None-Match, the ETag of its value. A poll without one of them is refused: it could only
// wait for changes after its own beginning, so those between two polls would be lost.
//
// The first read shows changes before the poll. The watch begins right after the revision of
// that read. So no change is missed in between either.

// maxWait is the maximum of the parameter wait.
const maxWait = 10 * time.Minute

// pollParams are the parameters of a long poll beside those of a read.
var pollParams = []string{"wait", "newer_than"}

// keyParams are the parameters of GET /kv/{key}.
var keyParams = slices.Concat(pollParams, getParams)

// poll is a long poll.
type poll struct {
	key       string
	options   kv.ReadOptions // of the first read
	wait      time.Duration
	newerThan uint64 // 0 if the client has said by If-None-Match what it has
	has       etags
}

// poll answers GET and HEAD /kv/{key} with the parameter wait.
func (s *Server) poll(w *response, r *http.Request, q query) error {
	p, err := s.parsePoll(r, q)
	if err != nil {
		return err
	}
	ctx, done, err := s.beginStream(r.Context())
	if err != nil {
		return err
	}
	defer done()
	result, changed, err := s.await(ctx, p)
	if err != nil {
		if errors.Is(context.Cause(ctx), kv.ErrClosed) {
			return kv.ErrClosed
		}
		return err
	}
	w.restartProgress()
	h := w.Header()
	setReadHeaders(h, result.Revision, &result.Item, p.options.Level)
	switch {
	case !changed:
		w.WriteHeader(http.StatusNotModified)
	case !result.Found:
		return errKeyNotFound
	default:
		setFlags(h, result.Item.Flags)
		writeBody(w, http.StatusOK, contentTypeOf(&result.Item), result.Item.Value)
	}
	return nil
}

// parsePoll returns the long poll of a request with the parameter wait.
func (s *Server) parsePoll(r *http.Request, q query) (p poll, err error) {
	if p.key, err = s.keyOf(r); err != nil {
		return p, err
	}
	if p.options, err = q.readOptions(); err != nil {
		return p, err
	}
	if p.options.Revision != 0 {
		return p, invalidParam("revision", "excludes wait: the state at a revision does not change; newer_than is for the revision that the client has")
	}
	if p.wait, err = time.ParseDuration(q["wait"]); err != nil || p.wait <= 0 || p.wait > maxWait {
		return p, invalidParam("wait", "must be a duration above 0 and up to 10m, such as 30s")
	}
	if p.newerThan, err = q.revision("newer_than"); err != nil {
		return p, err
	}
	cond, err := readCondition(r.Header)
	if err != nil {
		return p, err
	}
	switch p.has = cond.noneMatch; {
	case cond.match.given:
		return p, invalidCondition("If-Match", "is not for a read that waits")
	case p.has.any:
		return p, invalidCondition("If-None-Match", "of a read that waits must be an ETag, not *")
	case p.has.given == (p.newerThan != 0):
		return p, invalidParam("wait", "needs newer_than, the Kvorum-Revision of an earlier answer, or If-None-Match, its ETag, and not both")
	}
	// A state before newer_than could not show a change after it.
	p.options.MinRevision = max(p.options.MinRevision, p.newerThan)
	return p, nil
}

// await returns the first state of the key that differs from what the client has, or that may
// differ. If there is none within p.wait, it returns the present state and false. If the history
// after a state is compacted, it reads the key again: unless that may have changed, it waits on
// from there.
func (s *Server) await(ctx context.Context, p poll) (result kv.ReadResult, changed bool, err error) {
	result, err = s.read(ctx, p.key, p.options)
	if err != nil || p.shows(&result) {
		return result, true, err
	}
	waiting, cancel := context.WithTimeout(ctx, p.wait)
	defer cancel()
	for {
		next, changed, err := s.awaitAfter(ctx, waiting, p, result)
		if compacted := (*kv.CompactedError)(nil); !errors.As(err, &compacted) {
			return next, changed, err
		}
		result, err = s.read(ctx, p.key, p.options)
		switch {
		case err != nil, !result.Found, p.shows(&result):
			return result, true, err
		case waiting.Err() != nil && ctx.Err() == nil:
			return result, false, nil
		}
	}
}

// awaitAfter returns the first state of the key after a state that does not differ from what the
// client has. If there is none before waiting ends, it returns that state and false.
func (s *Server) awaitAfter(ctx, waiting context.Context, p poll, state kv.ReadResult) (result kv.ReadResult, changed bool, err error) {
	watch, err := s.beginWatch(ctx, kv.WatchOptions{Span: kv.One(p.key), From: p.after(&state) + 1})
	if err != nil {
		return state, false, err
	}
	defer func() { _ = watch.Close() }() // always nil
	batch, err := watch.Next(waiting)
	for err == nil && batch.Partial { // the state is that after the whole revision
		batch, err = watch.Next(waiting)
	}
	switch {
	case err == nil && batch.Revision > state.Revision:
		return stateAfter(&batch), true, nil
	case err == nil: // the key was made and deleted before the read
		return state, true, nil
	case ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded):
		state.Revision = max(state.Revision, watch.Revision())
		return state, false, nil
	}
	return state, false, err
}

// shows reports whether a state certainly differs from what the client has.
func (p *poll) shows(state *kv.ReadResult) bool {
	if p.newerThan != 0 {
		return state.Item.ModRevision > p.newerThan
	}
	return !state.Found || !p.has.holds(state.Item.ModRevision)
}

// after returns the revision up to which the client knows the key, whose present state is not
// newer. If the key does not exist, it may have been made and deleted since.
func (p *poll) after(state *kv.ReadResult) uint64 {
	if !state.Found {
		return p.newerThan
	}
	return state.Revision
}

// stateAfter returns the state of the one key of a watch after a batch.
func stateAfter(batch *kv.WatchBatch) kv.ReadResult {
	last := &batch.Events[len(batch.Events)-1]
	result := kv.ReadResult{Revision: batch.Revision}
	if last.Kind == kv.EventPut {
		result.Found, result.Item = true, last.Item
	}
	return result
}
