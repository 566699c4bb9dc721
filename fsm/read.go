package fsm

import (
	"context"
	"fmt"

	"github.com/kvorum/kvorum/fsm/mvcc"
	"github.com/kvorum/kvorum/kv"
)

// Read carries out a request that changes nothing (kv.Request.ReadOnly) on the newest state. It
// does what an entry of the log with the request would do, but delays nobody, so that it may
// look at any number of keys. All of it sees one revision, that of the response. Items alias
// the state's memory, and must not be modified. The error is kv.ErrAnswerLimit, a
// *kv.CompactedError, a *kv.FutureError, or the context's at its end.
func (f *FSM) Read(ctx context.Context, request *kv.Request) (kv.Response, error) {
	f.use()
	data := f.state.Load().data
	view, err := data.View(0)
	if err != nil {
		return kv.Response{}, err
	}
	defer func() { _ = view.Close() }() // always nil
	q := query{ctx: ctx, data: data, view: view}
	return q.request(request)
}

// query is a request that reads, while it is carried out.
type query struct {
	ctx    context.Context
	data   *mvcc.Store
	view   *mvcc.View // of the newest revision
	answer answerSize
	seen   int // number of items that were looked at
}

// request carries out a request, which may be a nested one.
func (q *query) request(r *kv.Request) (response kv.Response, err error) {
	response = kv.Response{Succeeded: true, Revision: q.view.Revision()}
	for i := 0; i < len(r.If) && response.Succeeded; i++ {
		if response.Succeeded, err = q.holds(&r.If[i]); err != nil {
			return kv.Response{}, err
		}
	}
	ops := branch(r, response.Succeeded)
	if !response.Succeeded && len(ops) == 0 {
		for i := range r.Then {
			response.Results = append(response.Results, q.peek(&r.Then[i]))
		}
		return response, nil
	}
	for i := range ops {
		result, err := q.op(&ops[i])
		if err != nil {
			return kv.Response{}, err
		}
		response.Results = append(response.Results, result)
	}
	return response, nil
}

// ended returns the context's error once it has ended. It asks only for some of the items.
func (q *query) ended() error {
	if q.seen++; q.seen%256 != 1 {
		return nil
	}
	return q.ctx.Err()
}

// holds reports whether a compare holds.
func (q *query) holds(c *kv.Compare) (bool, error) {
	if key, one := c.Span.Key(); one {
		it, found := q.view.Get(key)
		if !found {
			return c.Holds(nil), nil
		}
		return c.Holds(&it), nil
	}
	empty := true
	for it := range q.view.Ascend(c.Span) {
		if err := q.ended(); err != nil {
			return false, err
		}
		if empty = false; !c.Holds(&it) {
			return false, nil
		}
	}
	return !empty || c.Holds(nil), q.ctx.Err()
}

// peek returns the result of an operation that is not done: the state of its key.
func (q *query) peek(o *kv.Op) (result kv.Result) {
	if key, one := o.Span.Key(); one {
		var it kv.Item
		it, result.Existed = q.view.Get(key)
		result.ModRevision = it.ModRevision
	}
	return result
}

// op does one operation: a range, or a nested request.
func (q *query) op(o *kv.Op) (kv.Result, error) {
	if o.Kind == kv.OpRequest {
		nested, err := q.request(o.Nested)
		return kv.Result{Nested: &nested}, err
	}
	how, view := rangeOptions(o), q.view
	switch {
	case how.Revision > view.Revision():
		return kv.Result{}, &kv.FutureError{Revision: how.Revision, Newest: view.Revision()}
	case how.Revision != 0 && how.Revision != view.Revision():
		past, err := q.data.View(how.Revision)
		if err != nil {
			return kv.Result{}, err
		}
		defer func() { _ = past.Close() }() // always nil
		view = past
	}
	return q.read(view, o.Span, how)
}

// read reads a range of a view.
func (q *query) read(view *mvcc.View, span kv.Span, how *kv.RangeOptions) (result kv.Result, err error) {
	for it := range items(view, span, how, &result.More) {
		if err := q.ended(); err != nil {
			return kv.Result{}, err
		}
		if q.answer.add(it.AnswerBytes()); q.answer.tooLong() {
			return kv.Result{}, errAnswerTooLong
		}
		result.Items = append(result.Items, it)
	}
	for range view.Ascend(span) {
		if err := q.ended(); err != nil {
			return kv.Result{}, err
		}
		result.Count++
	}
	return result, q.ctx.Err()
}

// answerSize is the size of the items of an answer, or an upper bound of it.
type answerSize struct{ items, bytes int }

// add adds an item.
func (a *answerSize) add(bytes int) {
	a.items++
	a.bytes += bytes
}

// tooLong reports whether an answer may be too long.
func (a *answerSize) tooLong() bool { return a.items > 1 && a.bytes > kv.MaxAnswerBytes }

// errAnswerTooLong refuses a request whose answer may be too long.
var errAnswerTooLong = fmt.Errorf("%w: its items have more than %d bytes, with %d for each beside key and value",
	kv.ErrAnswerLimit, kv.MaxAnswerBytes, new(kv.Item).AnswerBytes())
