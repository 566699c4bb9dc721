package fsm

import (
	"slices"

	"github.com/kvorum/kvorum/fsm/mvcc"
	"github.com/kvorum/kvorum/internal/wire"
	"github.com/kvorum/kvorum/kv"
)

// Growth returns the maximum number of bytes by which requests make the data longer. A key
// counts as its own bytes, those of its value and of its attributes, and perKey bytes. Deletes
// are not counted, because their compares may not hold. The result is negative if values
// certainly become shorter. The facts in requests must be set.
func (f *FSM) Growth(requests wire.Requests, perKey int64) int64 {
	if g, ok := f.growthOf(requests, growth{perKey: perKey}); ok {
		return g.bytes
	}
	return requests.PutBytes + int64(requests.Puts)*perKey // as if all keys were new
}

// Rewritten returns the maximum number of bytes of the items that appends, touches and persists
// in requests replace. Such an operation writes them again, and the history keeps them: so the memory and the next snapshot
// take that many bytes more than requests have. The facts in requests must be set.
func (f *FSM) Rewritten(requests wire.Requests) int64 {
	if requests.Appends == 0 {
		return 0
	}
	if g, ok := f.growthOf(requests, growth{}); ok {
		return g.rewritten
	}
	return int64(requests.Appends) * kv.LimitMaxValueBytes
}

// growthOf adds requests up, as g says. It returns false if they can't be decoded.
func (f *FSM) growthOf(requests wire.Requests, g growth) (added growth, ok bool) {
	var b batch
	if _, err := f.codec.requests(requests.Version, requests.Count, requests.Data, &b); err != nil {
		return g, false
	}
	g.f, g.lengths = f, make(map[string]int64, len(b.parts.ops))
	for i := range b.requests {
		r := &b.requests[i]
		g.request(r, !g.values || g.alone || sure(r))
	}
	return g, true
}

// growth adds up by how much requests make the data longer.
type growth struct {
	f         *FSM
	perKey    int64
	values    bool             // only operations that write values count, and none that may be refused makes anything shorter
	alone     bool             // there is one request: it is done as a whole, or not at all
	lengths   map[string]int64 // of items that were counted, with perKey
	keys      int64            // number of keys that are made
	bytes     int64
	rewritten int64 // bytes of items that are written again; see rewrites
}

// sure reports whether a request is certainly carried out: it has puts only, which read nothing and
// need no lease. Another one may be refused when it is applied, or repeat an earlier answer.
func sure(r *kv.Request) bool {
	return r.IdempotencyKey == "" && !slices.ContainsFunc(r.Then, func(o kv.Op) bool {
		return o.Kind != kv.OpPut || o.Lease != 0 || o.WantPrev
	})
}

// request adds a request. certain says that it is carried out, so that its branch then is
// done unless it has compares.
func (g *growth) request(r *kv.Request, certain bool) {
	g.ops(r.Then, certain && len(r.If) == 0)
	g.ops(r.Else, false)
}

// ops adds the operations of a branch. certain says that the branch is done.
func (g *growth) ops(ops []kv.Op, certain bool) {
	for i := range ops {
		switch o := &ops[i]; o.Kind {
		case kv.OpPut:
			g.key(o.Key, func(before int64) int64 {
				after := g.perKey + mvcc.Bytes(itemOf(o)) + int64(len(o.Value))
				if !certain { // the value may remain
					after = max(before, after)
				}
				return after
			})
		case kv.OpAdd, kv.OpAppend:
			g.key(o.Key, func(before int64) int64 {
				if rewrites(o) {
					g.rewritten += before
				}
				return max(before, g.perKey+mvcc.Bytes(itemOf(o))) + int64(addedBytes(o))
			})
		case kv.OpTouch, kv.OpPersist:
			if g.values { // it keeps its length, and must not be evicted
				g.key(o.Key, func(before int64) int64 { return before })
				continue
			}
			g.key(o.Key, func(before int64) int64 {
				if g.rewritten += before; before == 0 || o.TTL == 0 {
					return before
				}
				return before + maxDeadlineBytes
			})
		case kv.OpGrant:
			if !g.values { // a lease is no data
				g.bytes += leaseBytes
			}
		case kv.OpRequest:
			g.request(o.Nested, certain)
		}
	}
}

// key adds a change of a key. after returns the length after it of the item, with perKey,
// given the length before it, 0 for no key.
func (g *growth) key(key string, after func(before int64) int64) {
	before, counted := g.lengths[key]
	if !counted {
		if old, found := g.f.state.Load().data.Peek(key); found {
			before = g.perKey + mvcc.Bytes(&old)
		}
	}
	now := after(before)
	g.lengths[key] = now
	g.bytes += now - before
	if before == 0 && now > 0 {
		g.keys++
	}
}
