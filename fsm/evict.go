package fsm

import (
	"encoding/binary"
	"math"
	"slices"
	"strings"

	"github.com/kvorum/kvorum/fsm/mvcc"
	"github.com/kvorum/kvorum/internal/wire"
	"github.com/kvorum/kvorum/kv"
)

// Where the quota has eviction, the leader removes keys so that a batch fits: by a request of its
// own before those of the batch, in the same entry. It has the victims, each with the revision of
// its last change, so all replicas remove the same keys. The leader chooses them by the uses of keys
// that it has seen, which are in no snapshot and no hash.

const (
	// maxEvicted is the maximum number of keys that one request evicts: some milliseconds of work,
	// during which writes wait.
	maxEvicted = 1000
	// maxEvictBytes is about the maximum size of such a request.
	maxEvictBytes = 256 << 10
)

// causeEvict is the cause of the deletion of a key to make room. Watches make events of
// kv.EventEvict of it.
const causeEvict = causeDelete + uint8(kv.EventEvict-kv.EventDelete)

// policies are the policies of package mvcc for those of the settings.
var policies = map[kv.Eviction]mvcc.Policy{
	kv.EvictionLRU: mvcc.LeastRecentlyUsed, kv.EvictionLFU: mvcc.LeastOftenRead,
	kv.EvictionRandom: mvcc.Random, kv.EvictionTTL: mvcc.EarliestDeadline,
}

// readsCount reports whether a policy goes by reads.
func readsCount(e kv.Eviction) bool { return e == kv.EvictionLRU || e == kv.EvictionLFU }

// trackUses makes the data keep keys ready for eviction as the settings say.
func (s *state) trackUses() {
	quota := s.settings.Load().Quota
	if quota.Eviction == kv.EvictionNone {
		if s.tracked != nil {
			s.tracked = nil
			s.data.TrackUses(nil)
		}
		return
	}
	options := mvcc.UseOptions{
		Reads:     readsCount(quota.Eviction),
		Protected: quota.ProtectedPrefixes,
	}
	if t := s.tracked; t != nil && t.Reads == options.Reads && slices.Equal(t.Protected, options.Protected) {
		return
	}
	s.tracked = &options
	s.data.TrackUses(&options)
}

// need is how much eviction must free.
type need struct{ keys, bytes int64 }

// met reports whether nothing more is needed.
func (n need) met() bool { return n.keys <= 0 && n.bytes <= 0 }

// evictions returns the request that evicts keys, none that kept has, and whether they free what is
// needed, which is not nothing. If not, there are too many for one request. If enough do not exist,
// Count is 0, unless part is set.
func (f *FSM) evictions(quota *kv.Quota, needed need, kept map[string]int64, part bool) (evict wire.Requests, enough bool) {
	data := f.state.Load().data
	if keys, bytes := evictable(data, quota, kept); !part && (keys < needed.keys || bytes < needed.bytes) {
		return wire.Requests{}, false
	}
	var victims []byte
	count, more, left := 0, true, needed
	// Whether there are enough keys with a deadline is known only once they were looked at.
	all := !part && quota.Eviction == kv.EvictionTTL
	skip := func(key string) bool {
		_, has := kept[key]
		return has
	}
	data.Victims(policies[quota.Eviction], skip, func(v mvcc.Victim) bool {
		left.keys--
		left.bytes -= v.Bytes
		if more {
			victims = binary.AppendUvarint(wire.AppendBytes(victims, v.Key), v.ModRevision)
			count++
			needed = left
			more = count < maxEvicted && len(victims) < maxEvictBytes && !needed.met()
		}
		return more || all && !left.met()
	})
	enough = needed.met()
	if count == 0 || !part && !enough && (more || all && !left.met()) {
		return wire.Requests{}, enough
	}
	return internalRequest(tagEvict, kv.Op{Value: append(binary.AppendUvarint(nil, uint64(count)), victims...)}), enough
}

// evictable returns the number of keys that may be evicted, and of their bytes, without those that kept
// has.
func evictable(data *mvcc.Store, quota *kv.Quota, kept map[string]int64) (keys, bytes int64) {
	keys, bytes = data.Evictable()
	for key := range kept {
		protected := slices.ContainsFunc(quota.ProtectedPrefixes, func(prefix string) bool { return strings.HasPrefix(key, prefix) })
		if it, found := data.Peek(key); found && !protected {
			keys, bytes = keys-1, bytes-mvcc.Bytes(&it)
		}
	}
	return keys, bytes
}

// Shrink returns the request of the leader's own that evicts keys because the data exceeds the quota,
// which has become lower. It evicts a bounded number; Count is 0 if there is nothing to evict.
func (f *FSM) Shrink() wire.Requests {
	quota := f.state.Load().settings.Load().Quota
	needed := need{above(quota.MaxKeys, int64(f.Len())), above(quota.MaxBytes, f.Size())}
	if quota.Eviction == kv.EvictionNone || needed == (need{}) {
		return wire.Requests{}
	}
	evict, _ := f.evictions(&quota, needed, nil, true)
	return evict
}

// above returns by how much n is above a limit, 0 if there is none.
func above(limit, n int64) int64 {
	if limit == 0 {
		limit = math.MaxInt64
	}
	return max(0, n-limit)
}

// decodeEvict checks the keys in an operation's value, so that tx.evict can read them.
func decodeEvict(_ *decoding, r wire.Reader, o *kv.Op) wire.Reader {
	o.Value = r.Rest()
	r = wire.NewReader(o.Value)
	n := r.Count(2)
	if n > maxEvicted {
		r.Malformed("too many keys to evict at once")
	}
	for range n {
		r.Bytes()
		r.Uvarint()
	}
	return r
}

// evict removes those keys in an operation's value that have not changed since they were chosen. A
// key whose deadline has passed meanwhile has expired.
func (t *tx) evict(o *kv.Op) {
	if t.seams.KeepEvicted {
		return
	}
	r := wire.NewReader(o.Value)
	for n := r.Count(2); n > 0; n-- {
		key, mod := alias(r.Bytes()), r.Uvarint()
		it, found, err := t.data.GetAt(key, t.data.Revision())
		if err != nil || !found || it.ModRevision != mod {
			continue
		}
		if previous, existed := t.data.Delete(key, causeEvict); existed {
			t.removed(&previous, causeEvict)
			t.evicted++
		} else {
			t.expire(key)
		}
	}
}
