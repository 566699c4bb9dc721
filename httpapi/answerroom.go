package httpapi

import (
	"fmt"

	"github.com/kvorum/kvorum/kv"
)

// expectedItem is the size that an item of an answer is expected to have: room for it is
// reserved before the size is known.
const expectedItem = 16 << 10

// expectedLease is the size that a lease is expected to have in a list of them.
const expectedLease = 64

// errNoAnswerRoom is returned for a request whose answer finds no room. It was not carried out.
var errNoAnswerRoom = fmt.Errorf("%w: the answers that wait for their clients take all that they may", kv.ErrOverloaded)

// expectedAnswer returns the size of the items that the answer to a request is expected to
// have at most, 0 if it has none.
func expectedAnswer(r *kv.Request) int64 {
	return min(max(expectedItems(r.Then), expectedItems(r.Else)), kv.MaxAnswerBytes)
}

// expectedItems returns the size that the results of a branch are expected to have.
func expectedItems(ops []kv.Op) (n int64) {
	for i := range ops {
		o := &ops[i]
		_, one := o.Span.Key()
		switch {
		case o.Kind == kv.OpRequest:
			n += expectedAnswer(o.Nested)
		case o.Kind == kv.OpRange && o.Range != nil && o.Range.CountOnly, o.Kind != kv.OpRange && !o.WantPrev:
		case one, o.Key != "":
			n += expectedItem
		case o.Range != nil && o.Range.Limit > 0:
			n += expectedItem * int64(min(o.Range.Limit, kv.MaxAnswerBytes/expectedItem))
		default:
			n += kv.MaxAnswerBytes
		}
	}
	return n
}

// expectAnswer reserves room for the answer to a request until the end of its handler. The error
// is kv.ErrOverloaded: the request must not be carried out.
func (s *Server) expectAnswer(w *response, r *kv.Request) error {
	return s.expectBytes(w, expectedAnswer(r))
}

// expectBytes is expectAnswer for an answer of n bytes.
func (s *Server) expectBytes(w *response, n int64) error {
	if !s.budget.takeAnswer(n) {
		return errNoAnswerRoom
	}
	w.answerBytes = n
	return nil
}

// answerHas makes the reservation of an answer the size that it has.
func (s *Server) answerHas(w *response, done *kv.Response) { s.bytesAre(w, int64(done.AnswerBytes())) }

// bytesAre makes the reservation of an answer n bytes.
func (s *Server) bytesAre(w *response, n int64) {
	s.budget.putAnswer(w.answerBytes - n)
	w.answerBytes = n
}
