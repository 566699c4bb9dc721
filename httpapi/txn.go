package httpapi

import (
	"bufio"
	"context"
	"net/http"

	"github.com/kvorum/kvorum/kv"
)

// maxTxnBytes returns the maximum length of a transaction's body. Its values are limited
// together as a single value is; base64 makes them a third longer, and keys need room too.
// A longer body than the budget has room for could never be read.
func (s *Server) maxTxnBytes() int64 {
	return min(2*int64(s.maxValue())+1<<20, s.budget.maxBytes-1) // see bodyMemory
}

// txn answers POST /txn: 200 with the results, whether the compares held or not.
func (s *Server) txn(w *response, r *http.Request) error {
	if _, err := parseQuery(r.URL.RawQuery); err != nil {
		return err
	}
	if err := refuseConditions(r.Header, "a transaction has its conditions in its body"); err != nil {
		return err
	}
	if err := w.checkLength(r, true); err != nil {
		return err
	}
	body, room, err := s.takeBody(w, r, "body", s.maxTxnBytes(), 1)
	if err != nil {
		return err
	}
	defer room.release()
	request, err := s.readRequest(body)
	if err != nil {
		return err
	}
	if w.idempotencyKey != "" {
		if request.IdempotencyKey != "" {
			return invalidField(idempotencyHeader, "is given beside idempotency_key in the body")
		}
		request.IdempotencyKey = w.idempotencyKey
	}
	if err := s.expectAnswer(w, &request); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(s.ctx, s.cfg.RequestTimeout)
	defer cancel()
	done, err := s.node.Do(ctx, request)
	if err != nil {
		return requestError(err, &request)
	}
	s.answerHas(w, &done)
	setReplayed(w.Header(), done.Replayed)
	setRevisions(w.Header(), done.Revision, 0)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusOK)
	lines := lineWriter{out: bufio.NewWriterSize(w, answerBuffer)}
	lines.response(&request, &done)
	lines.raw("\n")
	if err := lines.out.Flush(); err != nil {
		panic(http.ErrAbortHandler) // the client must not take this for a whole answer
	}
	return nil
}

// answerBuffer is the number of bytes of the answer to a transaction that are collected
// before they are sent.
const answerBuffer = 4 << 10

// refuseConditions refuses a request with a condition in its headers, because a condition
// must not be ignored.
func refuseConditions(h http.Header, reason string) error {
	for _, name := range []string{"If-Match", "If-None-Match"} {
		if len(h.Values(name)) > 0 {
			return invalidCondition(name, reason)
		}
	}
	return nil
}

// response writes the response to a request as an object:
//
//	{"succeeded":true,"revision":8,"results":[{"existed":false,"mod_revision":8},…]}
//
// It has a result for each operation of the branch that was done, and "replayed":true if it is
// the response to an earlier request with the same idempotency key.
func (l *lineWriter) response(request *kv.Request, response *kv.Response) {
	l.flag(`{"succeeded":`, response.Succeeded)
	l.number(`,"revision":`, response.Revision)
	l.replayed(response.Replayed)
	l.raw(`,"results":[`)
	ops := request.Then
	if !response.Succeeded {
		ops = request.Else
	}
	for i := range ops {
		if i > 0 {
			l.raw(",")
		}
		l.result(&ops[i], &response.Results[i])
	}
	l.raw("]}")
}

// replayed writes that a response is that of an earlier request, if it is.
func (l *lineWriter) replayed(replayed bool) {
	if replayed {
		l.raw(`,"replayed":true`)
	}
}

// result writes the result of one operation as an object.
func (l *lineWriter) result(op *kv.Op, result *kv.Result) {
	switch op.Kind {
	case kv.OpRequest:
		l.response(op.Nested, result.Nested)
		return
	case kv.OpRange:
		l.rangeResult(op, result)
		return
	case kv.OpGrant:
		l.granted(result)
		return
	case kv.OpRevoke:
		l.number(`{"deleted":`, uint64(result.Deleted))
		l.raw("}")
		return
	case kv.OpDelete:
		l.number(`{"deleted":`, uint64(result.Deleted))
		if op.WantPrev {
			l.items(`,"prev":[`, result.Items, false)
		}
		l.raw("}")
		return
	}
	l.flag(`{"existed":`, result.Existed)
	l.number(`,"mod_revision":`, result.ModRevision)
	switch op.Kind {
	case kv.OpAdd:
		l.signed(`,"number":`, result.Number)
	case kv.OpAppend:
		l.signed(`,"length":`, result.Number)
	}
	l.deadline(result.Deadline)
	if op.WantPrev {
		l.raw(`,"prev":`)
		l.itemOrNull(result.Prev, false)
	}
	l.raw("}")
}

// granted writes the result of a grant.
func (l *lineWriter) granted(result *kv.Result) {
	l.raw(`{"lease":"`)
	l.leaseID(result.Lease)
	l.raw(`","ttl":"` + result.TTL.String() + `"}`)
}

// rangeResult writes the result of a get, a range or a count.
func (l *lineWriter) rangeResult(op *kv.Op, result *kv.Result) {
	switch opName(op) {
	case "get":
		var item *kv.Item
		if len(result.Items) > 0 {
			item = &result.Items[0]
		}
		l.raw(`{"item":`)
		l.itemOrNull(item, op.Range.KeysOnly)
	case "count":
		l.number(`{"count":`, uint64(result.Count))
	default:
		l.items(`{"items":[`, result.Items, op.Range.KeysOnly)
		l.number(`,"count":`, uint64(result.Count))
		l.flag(`,"more":`, result.More)
	}
	l.raw("}")
}

// items writes the elements of an array, and its end.
func (l *lineWriter) items(begin string, items []kv.Item, keysOnly bool) {
	l.raw(begin)
	for i := range items {
		if i > 0 {
			l.raw(",")
		}
		l.item(&items[i], keysOnly)
	}
	l.raw("]")
}

// itemOrNull writes an item, or null for nil.
func (l *lineWriter) itemOrNull(item *kv.Item, keysOnly bool) {
	if item == nil {
		l.raw("null")
		return
	}
	l.item(item, keysOnly)
}
