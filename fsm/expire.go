package fsm

import (
	"encoding/binary"
	"time"

	"github.com/kvorum/kvorum/internal/wire"
	"github.com/kvorum/kvorum/kv"
)

// A put with a time to live gives its key a deadline: the entry's clock and the time to live.
// Once the clock has reached it, no read and no request sees the key. The key is removed by a
// later entry, as a deletion with the cause causeExpire: by one of the leader's own
// (ExpireRequest), or by the request that next writes the key. Replicas have the same clock
// and the same deadlines at each entry, so they decide alike.

const (
	// ttlVersion is the lowest command version that has times to live. Programs that lack it
	// see keys after their deadlines.
	ttlVersion = 4
	// maxExpired is the maximum number of keys that one ExpireRequest removes: some
	// milliseconds of work, during which writes wait.
	maxExpired = 1000
)

// causeExpire is the cause of the deletion of a key whose deadline has passed. Watches make
// events of kv.EventExpire of it.
const causeExpire = causeDelete + uint8(kv.EventExpire-kv.EventDelete)

// milliseconds returns a time of the cluster clock in milliseconds, rounded down: the clock has
// reached a deadline when these have.
func milliseconds(clock int64) int64 { return clock / int64(time.Millisecond) }

// deadline returns the deadline of a key that is to live for ttl from now, 0 for no ttl. It is
// rounded up, so that no key expires too early.
func (t *tx) deadline(ttl time.Duration) int64 {
	if ttl == 0 {
		return 0
	}
	return milliseconds(t.clock+int64(time.Millisecond)-1) + ttl.Milliseconds()
}

// ExpireRequest returns the request that removes keys whose deadlines have passed: up to
// maxExpired, in order of their deadlines, and in byte order of the keys where these are equal.
// It takes a revision if there is such a key.
func ExpireRequest() wire.Requests {
	return internalRequest(tagExpire, kv.Op{Value: binary.AppendUvarint(nil, maxExpired)})
}

// decodeExpire checks the maximum number of keys in an operation's value.
func decodeExpire(_ *decoding, r wire.Reader, o *kv.Op) wire.Reader {
	o.Value = r.Rest()
	r = wire.NewReader(o.Value)
	if r.Uvarint() > maxExpired {
		r.Malformed("too many keys to expire at once")
	}
	return r
}

// expireDue removes keys whose deadlines have passed.
func (t *tx) expireDue(o *kv.Op) {
	r := wire.NewReader(o.Value)
	t.keys = t.data.DueKeys(t.keys[:0], int(r.Uvarint()))
	for _, key := range t.keys {
		t.expire(key)
	}
}

// expireWritten removes those keys which a planned request writes, and whose deadlines have
// passed: together, and at a revision of their own. So each of them begins again, and watchers
// see its end first.
func (t *tx) expireWritten(r *kv.Request) {
	if !t.data.Due() {
		return
	}
	t.expireBranch(r)
	t.next = 0
	t.data.NextRevision()
}

// expireBranch removes the keys of the branch of r that was planned, and of those of its
// nested requests.
func (t *tx) expireBranch(r *kv.Request) {
	holds := t.path[t.next]
	t.next++
	ops := branch(r, holds)
	for i := range ops {
		switch o := &ops[i]; o.Kind {
		case kv.OpPut, kv.OpAdd, kv.OpAppend:
			t.expire(o.Key)
		case kv.OpRequest:
			t.expireBranch(o.Nested)
		}
	}
}

// expire removes a key if its deadline has passed.
func (t *tx) expire(key string) {
	if previous, expired := t.data.Expire(key, causeExpire); expired {
		t.removed(&previous, causeExpire)
	}
}

// touch gives a key that exists another deadline: after a time to live, or none.
func (t *tx) touch(dst []byte, o *kv.Op) []byte {
	it, found := t.data.Get(o.Key)
	if !found {
		return appendResult(dst, false, 0)
	}
	if o.Kind == kv.OpPersist && it.Deadline == 0 {
		var prev *kv.Item
		if o.WantPrev && t.answered {
			prev = &it
		}
		return appendWrite(dst, written{existed: true, mod: it.ModRevision, prev: prev})
	}
	it.Deadline = t.deadline(o.TTL)
	return appendWrite(dst, t.put(it, o.WantPrev))
}

// checkTouch counts what an operation that changes a deadline reads and writes.
func (t *tx) checkTouch(o *kv.Op) {
	if o.WantPrev {
		t.read(kv.One(o.Key), &wholeRange)
	}
	if it, found := t.data.Get(o.Key); found {
		t.budget.write(o.Key, len(it.Value))
	}
}

// NextDeadline returns the earliest deadline of a key, in milliseconds of the cluster clock
// since the Unix epoch, whether or not the clock has reached it; 0 if no key has one.
func (f *FSM) NextDeadline() int64 { return f.state.Load().data.NextDeadline() }

// Expiring returns the number of keys that have a deadline.
func (f *FSM) Expiring() int { return f.state.Load().data.Expiring() }

// Sooner returns a channel that receives once NextDeadline has become earlier since the last
// receive, or a key has a deadline and none had. It is for one receiver.
func (f *FSM) Sooner() <-chan struct{} { return f.sooner }

// deadlineLocked notes the next deadline, after an entry or a restore.
func (f *FSM) deadlineLocked() {
	before := f.nextDeadline
	f.nextDeadline = f.NextDeadline()
	if f.nextDeadline == 0 || before != 0 && before <= f.nextDeadline {
		return
	}
	select {
	case f.sooner <- struct{}{}:
	default: // the receiver has not looked since the last time
	}
}
