package chronicle

import (
	"math"
	"math/rand/v2"
	"strconv"

	"github.com/kvorum/kvorum/kv"
)

// Generator makes random requests over a few keys, with compares, operations and nested
// requests of all kinds. It belongs to one goroutine.
type Generator struct {
	Rand   *rand.Rand
	Keys   []string      // at least two, with a common prefix that only they have
	Prefix string        // that prefix
	Value  func() string // returns a value that nobody has written, of at most 24 bytes
	// Newest is a revision of the store: the requests compare with it and read at some
	// before it.
	Newest uint64

	written []kv.Op // the puts of the present request so far
}

// depth is the maximum number of levels of nested requests.
const depth = 2

// Request returns a valid request.
func (g *Generator) Request() kv.Request {
	for {
		g.written = nil
		if r := g.request(depth); r.Validate(kv.MaxLimits()) == nil {
			return r
		}
	}
}

func (g *Generator) request(levels int) (r kv.Request) {
	for range g.few(0, 1, 1, 2) {
		r.If = append(r.If, g.compare())
	}
	for range g.few(1, 1, 2, 3) {
		r.Then = append(r.Then, g.op(levels))
	}
	for range g.few(0, 0, 1, 2) {
		r.Else = append(r.Else, g.op(levels))
	}
	return r
}

func (g *Generator) few(counts ...int) int { return counts[g.Rand.IntN(len(counts))] }

func (g *Generator) key() string { return g.Keys[g.Rand.IntN(len(g.Keys))] }

// span returns one key, all keys, or those between two.
func (g *Generator) span() kv.Span {
	switch g.Rand.IntN(8) {
	case 0:
		return kv.Prefix(g.Prefix)
	case 1:
		if a, b := g.key(), g.key(); a < b {
			return kv.Span{Start: a, End: b}
		}
	}
	return kv.One(g.key())
}

// revision returns one that is not far below the newest.
func (g *Generator) revision() uint64 { return g.Newest - min(g.Newest, uint64(g.Rand.IntN(12))) }

// compare returns a condition. Often it is one on a key that the request itself writes, which
// holds only after that.
func (g *Generator) compare() kv.Compare {
	if n := len(g.written); n > 0 && g.Rand.IntN(2) == 0 {
		put := g.written[g.Rand.IntN(n)]
		return kv.Compare{Span: kv.One(put.Key), Target: kv.TargetValue, Relation: kv.Relation(1 + g.Rand.IntN(2)), Value: put.Value}
	}
	c := kv.Compare{Span: g.span(), Target: kv.Target(1 + g.Rand.IntN(5)), Relation: kv.Relation(1 + g.Rand.IntN(4))}
	switch c.Target {
	case kv.TargetValue:
		c.Value = []byte(g.value())
	case kv.TargetVersion:
		c.Number = int64(g.Rand.IntN(4))
	case kv.TargetCreateRevision, kv.TargetModRevision:
		if g.Rand.IntN(3) > 0 {
			c.Number = int64(g.revision())
		}
	}
	return c
}

// value returns a number half of the time, so that values are equal, and can be added to.
func (g *Generator) value() string {
	switch g.Rand.IntN(8) {
	case 0, 1, 2:
		return strconv.Itoa(g.Rand.IntN(4))
	case 3:
		return strconv.FormatInt(math.MaxInt64-int64(g.Rand.IntN(3)), 10)
	}
	return g.Value()
}

func (g *Generator) op(levels int) kv.Op {
	o := kv.Op{Kind: kv.OpKind(1 + g.Rand.IntN(6))}
	if len(g.written) > 0 && g.Rand.IntN(3) == 0 {
		o.Kind = kv.OpRequest
	}
	o.WantPrev = o.Kind != kv.OpRange && o.Kind != kv.OpRequest && g.Rand.IntN(2) == 0
	switch o.Kind {
	case kv.OpPut:
		o.Key, o.Value = g.key(), []byte(g.value())
		g.written = append(g.written, o)
		if g.Rand.IntN(4) == 0 {
			o.Flags, o.ContentType = g.Rand.Uint32(), "text/plain"
		}
	case kv.OpAdd:
		o.Key, o.Delta = g.key(), int64(g.Rand.IntN(9)-4)
	case kv.OpAppend:
		o.Key, o.Value, o.MaxBytes = g.key(), []byte(g.value()), 20+g.Rand.IntN(shortValue-20)
	case kv.OpDelete:
		o.Span = g.span()
	case kv.OpRange:
		o.Span = g.span()
		if g.Rand.IntN(2) == 0 {
			o.Range = g.rangeOptions()
		}
	case kv.OpRequest:
		nested := kv.Request{Then: []kv.Op{{Kind: kv.OpRange, Span: g.span()}}}
		if levels > 0 {
			nested = g.request(levels - 1)
		}
		o.Nested = &nested
	}
	return o
}

func (g *Generator) rangeOptions() *kv.RangeOptions {
	how := &kv.RangeOptions{
		Limit: g.few(0, 0, 1, 2), Reverse: g.Rand.IntN(2) == 0,
		KeysOnly: g.Rand.IntN(3) == 0, CountOnly: g.Rand.IntN(6) == 0,
	}
	if g.Rand.IntN(3) == 0 {
		how.Revision = g.revision()
	}
	for _, bound := range []*uint64{&how.MinModRevision, &how.MaxModRevision, &how.MinCreateRevision, &how.MaxCreateRevision} {
		if g.Rand.IntN(6) == 0 {
			*bound = g.revision()
		}
	}
	return how
}
