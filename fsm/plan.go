package fsm

import (
	"fmt"
	"slices"

	"github.com/kvorum/kvorum/fsm/mvcc"
	"github.com/kvorum/kvorum/kv"
)

const (
	// maxEntryAnswers is the maximum size of the items in the answers to an entry's requests
	// together. The first answer of an entry may be longer.
	maxEntryAnswers = 4 * kv.MaxAnswerBytes
	// maxEntryKeys is the maximum number of keys that an entry's requests look at together.
	maxEntryKeys = 4 * kv.MaxRequestKeys
)

// countRange are the options of a range that only counts. It does not change.
var countRange = kv.RangeOptions{CountOnly: true}

// budget has what is left of the limits, which a plan counts against before the request
// changes anything: the number of keys that it looks at, and an upper bound of the size of the
// items in its answer. Each replica counts the same, whether or not it makes the answer.
type budget struct {
	entryKeys  int // how many keys the entry's further requests may look at
	entryBytes int // what remains for the answers of the entry's further requests

	granted int        // how many keys the present request may look at
	keys    int        // what is left of them; negative once it has looked at too many
	answer  answerSize // of the present request
	kept    bool       // the answer to the present request is kept

	attached int // number of keys that the present request attaches to leases

	writes  []plannedWrite
	deletes []kv.Span // of operations before the one that is planned
}

// plannedWrite is an item that a request will have written.
type plannedWrite struct {
	key   string
	bytes int
}

// beginEntry grants all that an entry may take.
func (b *budget) beginEntry() { b.entryKeys, b.entryBytes = maxEntryKeys, maxEntryAnswers }

// begin grants what a request may take.
func (b *budget) begin() {
	b.granted = min(kv.MaxRequestKeys, b.entryKeys)
	b.keys, b.answer = b.granted, answerSize{}
	b.writes, b.deletes, b.attached = b.writes[:0], b.deletes[:0], 0
}

// reset forgets everything, and keeps memory for the next entry.
func (b *budget) reset() {
	clear(b.writes[:cap(b.writes)])
	clear(b.deletes[:cap(b.deletes)])
	b.begin()
}

// write notes an item that later operations may read.
func (b *budget) write(key string, value int) {
	it := kv.Item{Key: key}
	b.writes = append(b.writes, plannedWrite{key, it.AnswerBytes() + value + kv.MaxContentTypeBytes})
}

// delete notes a delete, whose keys later operations don't read.
func (b *budget) delete(span kv.Span) { b.deletes = append(b.deletes, span) }

// looked returns an error once the request has looked at too many keys. It ends the plan, so
// that not many more are looked at.
func (b *budget) looked() error {
	switch {
	case b.keys >= 0:
		return nil
	case b.granted < kv.MaxRequestKeys:
		return fmt.Errorf("%w: the requests beside it look at too many keys", kv.ErrOverloaded)
	}
	return fmt.Errorf("%w: its spans have more than %d keys, with those that were deleted and are not compacted: divide them", kv.ErrKeyLimit, kv.MaxRequestKeys)
}

// end takes what the request has taken from what the entry has. err is that of the plan.
func (b *budget) end(err error) error {
	b.entryKeys -= b.granted - max(b.keys, 0)
	switch {
	case err != nil:
		return err
	case b.answer.tooLong():
		return errAnswerTooLong
	case b.kept && b.answer.bytes > kv.MaxKeptAnswerBytes:
		return fmt.Errorf("%w: its items have about %d bytes, and an answer that is kept for its idempotency key may have %d",
			kv.ErrAnswerLimit, b.answer.bytes, kv.MaxKeptAnswerBytes)
	}
	return b.replay(b.answer.bytes)
}

// replay takes an answer of some bytes, which is perhaps that of an earlier request, from what
// the entry has.
func (b *budget) replay(bytes int) error {
	if bytes > b.entryBytes && b.entryBytes < maxEntryAnswers {
		return fmt.Errorf("%w: the answers to the requests beside it are too long", kv.ErrOverloaded)
	}
	b.entryBytes -= bytes
	return nil
}

// read counts a range that the request may read: the items of the state before it that it has
// not deleted, and those that it has written.
func (t *tx) read(span kv.Span, how *kv.RangeOptions) {
	if !how.CountOnly {
		for i := range t.budget.writes {
			if span.Contains(t.budget.writes[i].key) {
				t.budget.answer.add(t.budget.writes[i].bytes)
			}
		}
	}
	if key, one := span.Key(); one {
		if how.CountOnly {
			return
		}
		if it, found := t.data.Get(key); found {
			t.budget.answer.add(it.AnswerBytes())
		}
		return
	}
	view := t.view()
	defer func() { _ = view.Close() }() // always nil
	t.readView(view, span, how, t.budget.deletes)
}

// readView counts the range of a view without the deleted spans. The answer has the number of
// all keys in the span, so that all of them are looked at, whatever the limit.
func (t *tx) readView(view *mvcc.View, span kv.Span, how *kv.RangeOptions, deleted []kv.Span) {
	b, n := &t.budget, 0
	for it := range view.Walk(span, how.Reverse, &b.keys) {
		if how.CountOnly || how.Limit > 0 && n == how.Limit || !how.Keeps(&it) ||
			slices.ContainsFunc(deleted, func(s kv.Span) bool { return s.Contains(it.Key) }) {
			continue
		}
		if n++; how.KeysOnly {
			it.Value = nil
		}
		if b.answer.add(it.AnswerBytes()); b.answer.tooLong() {
			return
		}
	}
}
