package fsm_test

import (
	"time"

	"github.com/hashicorp/raft"
	"pgregory.net/rapid"

	"github.com/kvorum/kvorum/fsm"
	"github.com/kvorum/kvorum/internal/wire"
	"github.com/kvorum/kvorum/kv"
)

// testBatch is the contents of an entry.
type testBatch struct {
	clock    int64
	requests []testRequest
}

// testRequest is a request of clients, or one of the leader's own.
type testRequest struct {
	kv.Request
	retire     *string
	clock      bool
	checkpoint bool
	expire     bool
	compact    *uint64
	settings   *kv.Settings
}

// internal reports whether the request is the leader's own.
func (r testRequest) internal() bool {
	return r.retire != nil || r.clock || r.checkpoint || r.expire || r.compact != nil || r.settings != nil
}

func (r testRequest) encoded() wire.Requests {
	switch {
	case r.retire != nil:
		return fsm.RetireRequest(*r.retire)
	case r.clock:
		return fsm.ClockRequest()
	case r.checkpoint:
		return fsm.CheckpointRequest()
	case r.expire:
		return fsm.ExpireRequest()
	case r.compact != nil:
		return fsm.CompactRequest(*r.compact)
	case r.settings != nil:
		return fsm.SettingsRequest(*r.settings)
	}
	return fsm.Encode(wire.Requests{}, r.Request)
}

// version returns the command version of the batch.
func (b testBatch) version() byte {
	version := byte(1)
	for _, r := range b.requests {
		version = max(version, r.encoded().Version)
	}
	return version
}

func (b testBatch) entry(index uint64) *raft.Log {
	var all []wire.Requests
	for _, r := range b.requests {
		all = append(all, r.encoded())
	}
	return entry(index, 1, b.clock, all...)
}

// batchGen makes batches on few keys, so that several requests change the same key.
func batchGen() *rapid.Generator[testBatch] {
	return rapid.Custom(func(t *rapid.T) testBatch {
		return testBatch{
			clock:    rapid.Int64Range(-5, 100).Draw(t, "clock") * int64(time.Millisecond) / 4,
			requests: rapid.SliceOfN(testRequestGen(), 0, 6).Draw(t, "requests"),
		}
	})
}

func testRequestGen() *rapid.Generator[testRequest] {
	return rapid.Custom(func(t *rapid.T) testRequest {
		switch rapid.IntRange(0, 15).Draw(t, "kind") {
		case 0:
			id := rapid.StringMatching(`[ab]{0,1}`).Draw(t, "id")
			return testRequest{retire: &id}
		case 1:
			return testRequest{clock: true}
		case 2:
			return testRequest{checkpoint: true}
		case 3:
			revision := rapid.Uint64Range(0, 40).Draw(t, "compact")
			return testRequest{compact: &revision}
		case 4:
			s := kv.Settings{MaxKeyBytes: rapid.IntRange(0, 9).Draw(t, "setting")}
			if rapid.Bool().Draw(t, "idempotency") {
				s.Idempotency = kv.Idempotency{Window: time.Duration(rapid.IntRange(0, 50).Draw(t, "window")) * time.Millisecond / 4, MaxKeys: rapid.Int64Range(0, 3).Draw(t, "keys")}
			}
			return testRequest{settings: &s}
		case 5:
			return testRequest{expire: true}
		}
		r := requestGen().Draw(t, "request")
		if rapid.IntRange(0, 2).Draw(t, "idempotency") == 0 {
			if again := rapid.SampledFrom(repeated).Draw(t, "again"); rapid.IntRange(0, 3).Draw(t, "new") > 0 || r.ReadOnly() {
				r = again
			}
			r.IdempotencyKey = rapid.SampledFrom([]string{"x", "y", "z", "\x00"}).Draw(t, "idempotency key")
		}
		return testRequest{Request: r}
	})
}

// repeated are requests that are drawn often with the same idempotency keys.
var repeated = []kv.Request{
	{Then: []kv.Op{{Kind: kv.OpAdd, Key: "a", Delta: 1, WantPrev: true}}},
	{Then: []kv.Op{{Kind: kv.OpAppend, Key: "b", Value: []byte("+"), MaxBytes: 9}, {Kind: kv.OpRange, Span: kv.All()}}},
	{If: []kv.Compare{kv.Absent("c")}, Then: []kv.Op{{Kind: kv.OpPut, Key: "c"}}},
}

// keyGen makes one of few keys.
func keyGen() *rapid.Generator[string] { return rapid.StringMatching(`[abc]{1,2}`) }

// requestGen makes valid requests of clients, most of them with one operation that all
// command versions have.
func requestGen() *rapid.Generator[kv.Request] {
	return rapid.Custom(func(t *rapid.T) kv.Request {
		if !rapid.Bool().Draw(t, "new") {
			return oldRequest(t)
		}
		r := newRequest(t, 2)
		if r.Validate(kv.MaxLimits()) != nil {
			return oldRequest(t)
		}
		return r
	})
}

// oldRequest makes a request that command version 2 has.
func oldRequest(t *rapid.T) (r kv.Request) {
	for range rapid.SampledFrom([]int{0, 0, 1, 1, 2, 3}).Draw(t, "compares") {
		k := keyGen().Draw(t, "key")
		switch rapid.IntRange(1, 3).Draw(t, "compare") {
		case 1:
			r.If = append(r.If, kv.Absent(k))
		case 2:
			r.If = append(r.If, kv.Present(k))
		default:
			r.If = append(r.If, kv.ModRevision(k, rapid.Uint64Range(1, 30).Draw(t, "revision")))
		}
	}
	keys := rapid.SliceOfNDistinct(keyGen(), 1, rapid.SampledFrom([]int{1, 1, 1, 4}).Draw(t, "operations"), rapid.ID[string]).Draw(t, "keys")
	for _, k := range keys {
		if rapid.Bool().Draw(t, "delete") {
			r.Then = append(r.Then, kv.Op{Kind: kv.OpDelete, Span: kv.One(k)})
		} else {
			r.Then = append(r.Then, kv.Op{Kind: kv.OpPut, Key: k, Value: valueGen().Draw(t, "value")})
		}
	}
	if len(r.Then) == 1 && len(r.If) == 1 && rapid.Bool().Draw(t, "same key") {
		r.If[0].Span = kv.One(keys[0])
	}
	return r
}

// valueGen makes short values, many of them numbers.
func valueGen() *rapid.Generator[[]byte] {
	return rapid.Custom(func(t *rapid.T) []byte {
		if rapid.Bool().Draw(t, "number") {
			return []byte(rapid.SampledFrom([]string{"0", "7", "-12", "9223372036854775807", "-9223372036854775808"}).Draw(t, "n"))
		}
		return rapid.SliceOfN(rapid.Byte(), 0, 5).Draw(t, "bytes")
	})
}

// newRequest makes a request of any kind, which may be invalid, with that many levels of
// nested ones.
func newRequest(t *rapid.T, depth int) (r kv.Request) {
	for range rapid.IntRange(0, 2).Draw(t, "compares") {
		c := kv.Compare{
			Span:     spanOf(t),
			Target:   kv.Target(rapid.IntRange(1, 5).Draw(t, "target")),
			Relation: kv.Relation(rapid.IntRange(1, 4).Draw(t, "relation")),
		}
		if c.Target == kv.TargetValue {
			c.Value = valueGen().Draw(t, "value")
		} else {
			c.Number = rapid.Int64Range(-1, 20).Draw(t, "number")
		}
		r.If = append(r.If, c)
	}
	for range rapid.IntRange(0, 3).Draw(t, "then") {
		r.Then = append(r.Then, newOp(t, depth))
	}
	for range rapid.IntRange(0, 2).Draw(t, "else") {
		r.Else = append(r.Else, newOp(t, depth))
	}
	return r
}

func spanOf(t *rapid.T) kv.Span {
	a, b := keyGen().Draw(t, "start"), keyGen().Draw(t, "end")
	return rapid.SampledFrom([]kv.Span{kv.One(a), kv.One(a), kv.Prefix(a), kv.From(a), {Start: a, End: b}, kv.All()}).Draw(t, "span")
}

func newOp(t *rapid.T, depth int) kv.Op {
	o := kv.Op{Kind: kv.OpKind(rapid.IntRange(1, 8).Draw(t, "operation"))}
	o.WantPrev = o.Kind != kv.OpRange && o.Kind != kv.OpRequest && rapid.Bool().Draw(t, "previous")
	switch o.Kind {
	case kv.OpPut:
		o.Key, o.Value = keyGen().Draw(t, "key"), valueGen().Draw(t, "value")
		o.Flags = rapid.SampledFrom([]uint32{0, 1, 1<<32 - 1}).Draw(t, "flags")
		o.ContentType = rapid.SampledFrom([]string{"", "text/plain"}).Draw(t, "type")
		o.TTL = ttlGen(t, 0)
	case kv.OpTouch:
		o.Key, o.TTL = keyGen().Draw(t, "key"), ttlGen(t, 1)
	case kv.OpPersist:
		o.Key = keyGen().Draw(t, "key")
	case kv.OpAdd:
		o.TTL = ttlGen(t, 0)
		o.Key, o.Delta = keyGen().Draw(t, "key"), rapid.SampledFrom([]int64{0, 1, -1, 1<<63 - 1, -1 << 63}).Draw(t, "delta")
	case kv.OpAppend:
		o.TTL = ttlGen(t, 0)
		o.Key, o.Value = keyGen().Draw(t, "key"), valueGen().Draw(t, "value")
		o.MaxBytes = rapid.IntRange(1, 30).Draw(t, "limit")
	case kv.OpDelete:
		o.Span = spanOf(t)
	case kv.OpRange:
		o.Span = spanOf(t)
		if rapid.Bool().Draw(t, "options") {
			o.Range = rangeOf(t)
		}
	case kv.OpRequest:
		o.Nested = &kv.Request{}
		if depth > 0 {
			*o.Nested = newRequest(t, depth-1)
		}
	}
	return o
}

// ttlGen makes a short time to live, at least so many milliseconds.
func ttlGen(t *rapid.T, least int) time.Duration {
	return time.Duration(rapid.IntRange(least, 4).Draw(t, "ttl")) * time.Millisecond
}

func rangeOf(t *rapid.T) *kv.RangeOptions {
	how := &kv.RangeOptions{
		Limit: rapid.IntRange(0, 3).Draw(t, "limit"), Reverse: rapid.Bool().Draw(t, "reverse"),
		KeysOnly: rapid.Bool().Draw(t, "keys"), CountOnly: rapid.IntRange(0, 5).Draw(t, "count") == 0,
	}
	for _, n := range []*uint64{&how.Revision, &how.MinModRevision, &how.MaxModRevision, &how.MinCreateRevision, &how.MaxCreateRevision} {
		if rapid.IntRange(0, 4).Draw(t, "bound") == 0 {
			*n = rapid.Uint64Range(0, 40).Draw(t, "revision")
		}
	}
	return how
}
