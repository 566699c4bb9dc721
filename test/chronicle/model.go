package chronicle

import (
	"maps"
	"slices"
	"strconv"

	"github.com/kvorum/kvorum/kv"
)

// tx does one request on the state at a revision, as the model. It changes nothing.
type tx struct {
	past     *past
	revision uint64 // of the state before the request

	changed map[string]*kv.Item // keys that the request has changed so far; nil for a deleted one
	events  []kv.Event          // its changes, in order
	unknown bool                // it has read a state that is not known
}

// try does a request on the state at a revision. refused is the code of the error if the
// request is refused. known reports whether the result is certain.
func (p *past) try(r *kv.Request, revision uint64) (t *tx, response kv.Response, refused kv.Code, known bool) {
	t = &tx{past: p, revision: revision, changed: map[string]*kv.Item{}, unknown: !p.knows(revision)}
	if t.unknown {
		return t, kv.Response{}, "", false
	}
	if refused = t.plan(r); refused == "" {
		response = t.run(r)
	}
	return t, response, refused, !t.unknown
}

// holds reports whether all compares of a request hold, on the state before the whole.
func (t *tx) holds(r *kv.Request) bool {
	for i := range r.If {
		c := &r.If[i]
		items := t.past.in(c.Span, t.revision)
		if len(items) == 0 && !c.Holds(nil) {
			return false
		}
		for j := range items {
			if !c.Holds(&items[j]) {
				return false
			}
		}
	}
	return true
}

func (t *tx) branch(r *kv.Request) []kv.Op {
	if t.holds(r) {
		return r.Then
	}
	return r.Else
}

// plan returns the code with which the request is refused, "" if it is done.
func (t *tx) plan(r *kv.Request) (refused kv.Code) {
	for _, o := range t.branch(r) {
		before, _ := t.past.get(o.Key, t.revision)
		switch o.Kind {
		case kv.OpRequest:
			refused = t.plan(o.Nested)
		case kv.OpAdd:
			n, ok := number(before)
			switch sum := n + o.Delta; {
			case !ok:
				refused = kv.ErrNotNumber.Code
			case o.Delta > 0 && sum < n, o.Delta < 0 && sum > n:
				refused = kv.ErrOverflow.Code
			}
		case kv.OpAppend:
			if len(before.Value)+len(o.Value) > o.MaxBytes {
				refused = kv.ErrValueLimit.Code
			}
		}
		if refused != "" {
			return refused
		}
	}
	return ""
}

// maxNumberLen is the maximum length of a number: appends may put zeros before one.
const maxNumberLen = len("-9223372036854775808")

// number returns the number in an item's value, 0 if there is no item.
func number(it kv.Item) (n int64, ok bool) {
	if it.Key == "" {
		return 0, true
	}
	n, err := strconv.ParseInt(string(it.Value), 10, 64)
	return n, err == nil && len(it.Value) <= maxNumberLen
}

// newest returns the revision of the store with the request's changes so far.
func (t *tx) newest() uint64 {
	if len(t.events) > 0 {
		return t.revision + 1
	}
	return t.revision
}

func (t *tx) run(r *kv.Request) kv.Response {
	response := kv.Response{Succeeded: t.holds(r)}
	ops := t.branch(r)
	for i := range ops {
		response.Results = append(response.Results, t.do(&ops[i]))
	}
	if !response.Succeeded && len(ops) == 0 {
		for i := range r.Then {
			it, existed := t.get(keyOf(&r.Then[i]))
			response.Results = append(response.Results, kv.Result{Existed: existed, ModRevision: it.ModRevision})
		}
	}
	response.Revision = t.newest()
	return response
}

// keyOf returns the key of an operation on one key, "" for others.
func keyOf(o *kv.Op) string {
	if o.Key != "" {
		return o.Key
	}
	key, one := o.Span.Key()
	if !one {
		return ""
	}
	return key
}

// get returns the item of a key with the changes so far.
func (t *tx) get(key string) (kv.Item, bool) {
	if it, ok := t.changed[key]; ok {
		if it == nil {
			return kv.Item{}, false
		}
		return *it, true
	}
	return t.past.get(key, t.revision)
}

// in returns the items of a span with the changes so far, in order.
func (t *tx) in(s kv.Span) (items []kv.Item) {
	keys := t.past.within(s)
	for _, key := range slices.Sorted(maps.Keys(t.changed)) {
		if _, found := slices.BinarySearch(keys, key); !found && s.Contains(key) {
			keys = append(slices.Clone(keys), key)
			slices.Sort(keys)
		}
	}
	for _, key := range keys {
		if it, ok := t.get(key); ok {
			items = append(items, it)
		}
	}
	return items
}

func (t *tx) do(o *kv.Op) kv.Result {
	switch o.Kind {
	case kv.OpDelete:
		return t.delete(o)
	case kv.OpRange:
		return t.read(o)
	case kv.OpRequest:
		nested := t.run(o.Nested)
		return kv.Result{Nested: &nested}
	}
	return t.write(o)
}

func (t *tx) write(o *kv.Op) kv.Result {
	old, existed := t.get(o.Key)
	revision := t.revision + 1
	it := kv.Item{
		Key: o.Key, Value: o.Value, CreateRevision: revision, ModRevision: revision, Version: old.Version + 1,
		Flags: o.Flags, ContentType: o.ContentType,
	}
	if existed {
		it.CreateRevision = old.CreateRevision
	}
	if o.Kind != kv.OpPut {
		it.Flags, it.ContentType = old.Flags, old.ContentType
	}
	result := kv.Result{Existed: existed, ModRevision: revision}
	switch o.Kind {
	case kv.OpAdd:
		n, _ := number(old)
		result.Number = n + o.Delta
		it.Value = strconv.AppendInt(nil, result.Number, 10)
	case kv.OpAppend:
		it.Value = slices.Concat(old.Value, o.Value)
		result.Number = int64(len(it.Value))
	}
	if existed && o.WantPrev {
		result.Prev = &old
	}
	t.change(o.Key, &it)
	return result
}

// change makes the next change of the request; the item is nil for a deletion.
func (t *tx) change(key string, it *kv.Item) {
	e := kv.Event{Kind: kv.EventDelete, Item: kv.Item{Key: key, ModRevision: t.revision + 1}}
	if t.changed[key] = it; it != nil {
		e = kv.Event{Kind: kv.EventPut, Item: *it}
	}
	if prev, ok := t.past.get(key, t.revision); ok { // before the whole request
		e.Prev = &prev
	}
	t.events = append(t.events, e)
}

func (t *tx) delete(o *kv.Op) (result kv.Result) {
	items := t.in(o.Span)
	result.Deleted = len(items)
	if _, one := o.Span.Key(); one {
		result.Existed = len(items) > 0
	}
	for _, it := range items {
		t.change(it.Key, nil)
	}
	if o.WantPrev {
		result.Items = items
	}
	return result
}

func (t *tx) read(o *kv.Op) kv.Result {
	how := kv.RangeOptions{}
	if o.Range != nil {
		how = *o.Range
	}
	items := t.in(o.Span)
	if how.Revision != 0 {
		items = t.past.in(o.Span, how.Revision)
		t.unknown = t.unknown || !t.past.knows(how.Revision)
	}
	return rangeOf(items, &how)
}

// rangeOf returns the result of a range over items.
func rangeOf(items []kv.Item, how *kv.RangeOptions) (result kv.Result) {
	if result.Count = len(items); how.CountOnly {
		return result
	}
	items = slices.DeleteFunc(items, func(it kv.Item) bool { return !how.Keeps(&it) })
	if how.Reverse {
		slices.Reverse(items)
	}
	if how.Limit > 0 && len(items) > how.Limit {
		items, result.More = items[:how.Limit], true
	}
	for i := range items {
		if how.KeysOnly {
			items[i].Value = nil
		}
	}
	if len(items) > 0 {
		result.Items = items
	}
	return result
}
