package fsm

import (
	"cmp"
	"strings"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/fsm/mvcc"
	"github.com/kvorum/kvorum/fsm/watch"
	"github.com/kvorum/kvorum/kv"
)

// tx applies the requests of one entry, in order. Each request sees the changes of previous
// ones, and readers see none of them yet. The outcome depends on the state and the requests
// only: tx uses no clock, no randomness and no order of a Go map.
//
// A request is done in two steps. The plan looks at the state before the request only: it
// decides which branches are done, and whether the request is refused. So nothing that the
// second step does can fail, and nothing need be undone. Before that step, keys are removed
// that the request writes and that have expired.
type tx struct {
	seams *Seams // of the FSM
	state *state
	data  *mvcc.Tx
	entry *watch.Entry
	clock int64 // the cluster clock after the entry, in nanoseconds since the Unix epoch

	index, term uint64 // of the entry
	idsTaken    uint64 // number of ids of leases that the entry has chosen

	path []bool // which branches are done: whether the compares of each request that is reached hold, in order
	next int    // number of the next one in path

	answered bool     // somebody waits for the responses
	budget   budget   // what is left of the limits
	keys     []string // of the present delete of a span

	checkpoint bool   // the entry asks for one
	evicted    uint64 // number of keys that the entry has evicted
}

// begin begins the entry l, with which the cluster clock becomes clock. Unless its responses are
// answered to somebody, they lack what has been read; all decisions are the same.
func (t *tx) begin(s *state, hub *watch.Hub, l *raft.Log, clock int64, answered bool) {
	t.index, t.term = l.Index, l.Term
	t.state, t.data, t.entry, t.clock, t.answered, t.checkpoint = s, s.data.Begin(), hub.Begin(), clock, answered, false
	t.data.SetClock(milliseconds(clock))
	t.budget.beginEntry()
}

// end forgets the entry, and keeps memory for the next one.
func (t *tx) end() {
	if clear(t.keys); cap(t.keys) > maxKept {
		t.keys = nil
	}
	t.budget.reset()
	*t = tx{seams: t.seams, path: t.path[:0], keys: t.keys[:0], budget: t.budget}
}

// request applies one request and appends the response to it. It also returns why the request
// was refused, nil if it was done.
func (t *tx) request(dst []byte, r *kv.Request) (response []byte, refused error) {
	t.path, t.next = t.path[:0], 0
	t.budget.begin()
	t.data.NextRequest()
	if err := t.budget.end(t.plan(r)); err != nil {
		return appendRefusal(dst, err), err
	}
	t.expireWritten(r)
	return t.run(dst, r), nil
}

// plan decides which branch of r is done, and checks it.
func (t *tx) plan(r *kv.Request) error {
	holds := true
	for i := 0; i < len(r.If) && holds; i++ {
		holds = t.holds(&r.If[i])
		if err := t.budget.looked(); err != nil {
			return err
		}
	}
	t.path = append(t.path, holds)
	ops := branch(r, holds)
	for i := range ops {
		if err := cmp.Or(t.check(&ops[i]), t.budget.looked()); err != nil {
			return err
		}
	}
	return nil
}

// branch returns the operations of the branch that is done.
func branch(r *kv.Request, holds bool) []kv.Op {
	if holds {
		return r.Then
	}
	return r.Else
}

// holds reports whether a compare holds. The budget says whether it has looked at too many
// keys; the result is meaningless then.
func (t *tx) holds(c *kv.Compare) bool {
	if key, one := c.Span.Key(); one {
		it, found := t.data.Get(key)
		if !found {
			return c.Holds(nil)
		}
		return c.Holds(&it)
	}
	view := t.view()
	defer func() { _ = view.Close() }() // always nil
	empty := true
	for it := range view.Walk(c.Span, false, &t.budget.keys) {
		if empty = false; !c.Holds(&it) {
			return false
		}
	}
	return !empty || c.Holds(nil)
}

// view returns the state with the changes so far. The caller closes it.
func (t *tx) view() *mvcc.View {
	v, err := t.data.View(0)
	if err != nil {
		panic(err) // the newest revision is neither compacted nor a future one
	}
	return v
}

// check returns why an operation is refused. It counts the keys that the operation looks at,
// and the maximum size of the items of its result.
func (t *tx) check(o *kv.Op) error {
	switch o.Kind {
	case kv.OpPut:
		if o.Lease != 0 {
			if err := t.checkLease(o); err != nil {
				return err
			}
		}
		if o.WantPrev {
			t.read(kv.One(o.Key), &wholeRange)
		}
		t.budget.write(o.Key, len(o.Value))
	case kv.OpAdd:
		return t.checkAdd(o)
	case kv.OpAppend:
		return t.checkAppend(o)
	case kv.OpTouch, kv.OpPersist:
		t.checkTouch(o)
	case kv.OpDelete:
		how := &countRange
		if o.WantPrev {
			how = &wholeRange
		}
		t.read(o.Span, how)
		t.budget.delete(o.Span)
	case kv.OpRange:
		return t.checkRange(o)
	case kv.OpRequest:
		return t.plan(o.Nested)
	case kv.OpGrant, kv.OpRevoke:
		return t.checkLease(o)
	case kv.OpKind(tagCompact):
		return t.compact(o)
	case kv.OpKind(tagSettings):
		return t.checkSettings(o)
	}
	return nil
}

// run does the branch of r that was planned, and appends the response.
func (t *tx) run(dst []byte, r *kv.Request) []byte {
	holds := t.path[t.next]
	t.next++
	at := len(dst)
	ops := branch(r, holds)
	for i := range ops {
		dst = t.do(dst, &ops[i])
	}
	if !holds && len(ops) == 0 {
		for i := range r.Then {
			dst = t.peek(dst, &r.Then[i])
		}
	}
	kind := responseDone
	if !holds {
		kind = responseFailed
	}
	return insertResponse(dst, at, kind, t.data.Revision())
}

// peek appends the result of an operation that is not done: the state of its key.
func (t *tx) peek(dst []byte, o *kv.Op) []byte {
	key, one := o.Key, o.Key != ""
	if !one {
		key, one = o.Span.Key()
	}
	if !one {
		return appendResult(dst, false, 0)
	}
	it, existed := t.data.Get(key)
	return appendResult(dst, existed, it.ModRevision)
}

// do does one operation and appends its result, if it has one.
func (t *tx) do(dst []byte, o *kv.Op) []byte {
	switch o.Kind {
	case kv.OpPut:
		it := kv.Item{Key: o.Key, Value: o.Value, Lease: o.Lease, Deadline: t.deadline(o.TTL), Flags: o.Flags, ContentType: o.ContentType}
		return appendWrite(dst, t.put(it, o.WantPrev))
	case kv.OpAdd:
		return t.add(dst, o)
	case kv.OpAppend:
		return t.append(dst, o)
	case kv.OpTouch, kv.OpPersist:
		return t.touch(dst, o)
	case kv.OpDelete:
		return t.delete(dst, o)
	case kv.OpRange:
		return t.readRange(dst, o)
	case kv.OpRequest:
		return t.nested(dst, o)
	case kv.OpGrant:
		return t.grant(dst, o)
	case kv.OpRevoke:
		return t.revoke(dst, o)
	case kv.OpKind(tagRetire):
		t.state.retire(strings.Clone(o.Key))
	case kv.OpKind(tagCheckpoint):
		t.checkpoint = true
	case kv.OpKind(tagSettings):
		t.set(o)
	case kv.OpKind(tagExpire):
		t.expireDue(o)
	case kv.OpKind(tagEvict):
		t.evict(o)
	case kv.OpKind(tagExpireLeases):
		t.expireLeases(o)
	}
	return dst
}
