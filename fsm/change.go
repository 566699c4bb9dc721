package fsm

import (
	"fmt"
	"math"
	"strconv"

	"github.com/kvorum/kvorum/internal/wire"
	"github.com/kvorum/kvorum/kv"
)

// causeDelete is the cause of a deletion that a request has asked for.
const causeDelete uint8 = 0

// put sets a key and keeps the state's hash. Its result has the Item before it if that is
// wanted.
func (t *tx) put(it kv.Item, wantPrev bool) written {
	stored, previous, existed := t.data.Put(it)
	w := written{existed: existed, mod: stored.ModRevision, deadline: stored.Deadline}
	if existed {
		t.state.hash.remove(&previous)
		if wantPrev && t.answered {
			kept := previous // so that others are not allocated
			w.prev = &kept
		}
	}
	t.state.hash.add(&stored)
	t.entry.Changed(stored.Key, stored.ModRevision)
	return w
}

// remove removes a key, which need not exist, and keeps the state's hash. It returns the
// Item and whether there was one.
func (t *tx) remove(key string) (previous kv.Item, existed bool) {
	if previous, existed = t.data.Delete(key, causeDelete); existed {
		t.removed(&previous, causeDelete)
	}
	return previous, existed
}

// removed keeps the state's hash after an item was removed.
func (t *tx) removed(previous *kv.Item, cause uint8) {
	t.state.hash.remove(previous)
	t.state.hash.deleted(previous.Key, t.data.Revision(), cause)
	t.entry.Changed(previous.Key, t.data.Revision())
}

// delete removes the keys of a span.
func (t *tx) delete(dst []byte, o *kv.Op) []byte {
	key, one := o.Span.Key()
	if one && !o.WantPrev {
		_, existed := t.remove(key)
		return appendResult(dst, existed, 0)
	}
	// The keys first: a view shows the changes of the request that reads it.
	t.keys = t.keys[:0]
	view := t.view()
	for it := range view.Ascend(o.Span) {
		t.keys = append(t.keys, it.Key)
	}
	_ = view.Close() // always nil
	dst, field := wire.OpenField(append(dst, resultDelete), 0)
	dst = append(dst, byte(bit(len(t.keys) > 0 && one, resultExisted)))
	dst = appendNumber(dst, len(t.keys))
	dst, items := wire.OpenField(dst, 0)
	for _, key := range t.keys {
		if previous, _ := t.remove(key); o.WantPrev && t.answered {
			dst = appendItem(dst, &previous)
		}
	}
	return field.Close(items.Close(dst))
}

// number returns the number in the value of an add's key, 0 if there is no such key.
func (t *tx) number(o *kv.Op) (it kv.Item, n int64, err error) {
	it, found := t.data.Get(o.Key)
	if !found {
		return kv.Item{Key: o.Key}, 0, nil
	}
	if len(it.Value) <= maxNumberLen {
		n, err = strconv.ParseInt(string(it.Value), 10, 64)
	}
	if err != nil || len(it.Value) > maxNumberLen {
		return it, 0, fmt.Errorf("%w: the value of %.64q", kv.ErrNotNumber, o.Key)
	}
	return it, n, nil
}

func (t *tx) checkAdd(o *kv.Op) error {
	if o.WantPrev {
		t.read(kv.One(o.Key), &wholeRange)
	}
	t.budget.write(o.Key, maxNumberLen)
	_, n, err := t.number(o)
	if err != nil {
		return err
	}
	if o.Delta > 0 && n > math.MaxInt64-o.Delta || o.Delta < 0 && n < math.MinInt64-o.Delta {
		return fmt.Errorf("%w: %d and %d, for %.64q", kv.ErrOverflow, n, o.Delta, o.Key)
	}
	return nil
}

// add adds to a number. The plan has made sure that there is one, or no value: an earlier
// operation of the request may have deleted the key, and none has written it.
func (t *tx) add(dst []byte, o *kv.Op) []byte {
	it, n, _ := t.number(o)
	if it.Version == 0 { // it does not exist
		it.Deadline = t.deadline(o.TTL)
	}
	n += o.Delta
	it.Value = strconv.AppendInt(nil, n, 10)
	w := t.put(it, o.WantPrev)
	w.number = &n
	return appendWrite(dst, w)
}

func (t *tx) checkAppend(o *kv.Op) error {
	if o.WantPrev {
		t.read(kv.One(o.Key), &wholeRange)
	}
	it, _ := t.data.Get(o.Key)
	length := len(it.Value) + len(o.Value)
	t.budget.write(o.Key, length)
	if length > o.MaxBytes {
		return fmt.Errorf("%w: %.64q would have %d bytes, the limit is %d", kv.ErrValueLimit, o.Key, length, o.MaxBytes)
	}
	return nil
}

// append makes a value longer. Since the plan, the value can only have been deleted.
func (t *tx) append(dst []byte, o *kv.Op) []byte {
	it, found := t.data.Get(o.Key)
	if !found {
		it = kv.Item{Key: o.Key, Deadline: t.deadline(o.TTL)}
	}
	value := make([]byte, 0, len(it.Value)+len(o.Value))
	it.Value = append(append(value, it.Value...), o.Value...)
	length := int64(len(it.Value))
	w := t.put(it, o.WantPrev)
	w.number = &length
	return appendWrite(dst, w)
}

// nested does the request of an operation.
func (t *tx) nested(dst []byte, o *kv.Op) []byte {
	if t.seams.LateCompares {
		t.path, t.next = t.path[:0], 0
		if t.plan(o.Nested) != nil {
			return dst
		}
		t.expireBranch(o.Nested)
		t.next = 0
	}
	dst, field := wire.OpenField(append(dst, resultNested), 0)
	return field.Close(t.run(dst, o.Nested))
}
