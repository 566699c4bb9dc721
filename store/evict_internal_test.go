package store

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"
)

// TestVictims_OnePass shows that many victims at once cost by the number of keys,
// not by its square: each key is looked at a few times, whatever the policy.
func TestVictims_OnePass(t *testing.T) {
	const keys, stay = 20_000, 100
	for _, policy := range []EvictionPolicy{EvictionLRU, EvictionLFU, EvictionRandom, EvictionTTL} {
		t.Run(policy.String(), func(t *testing.T) {
			m := NewShardedMap(8)
			for i := range keys {
				m.Set(Item{Key: fmt.Sprint(i), Deadline: int64(1 + i/2)})
			}
			looks, gone := 0, map[string]bool{}
			taken := func(key string) bool { looks++; return gone[key] }
			for r := range m.victims(policy, record{}, evictsMany(keys-stay, keys), taken) {
				if policy == EvictionTTL && r.deadline() != int64(1+len(gone)/2) {
					t.Fatalf("victim %d has deadline %d", len(gone), r.deadline())
				}
				if gone[r.key()] = true; len(gone) == keys-stay {
					break
				}
			}
			if len(gone) != keys-stay || looks > 2*keys {
				t.Errorf("%d victims after %d looks at %d keys", len(gone), looks, keys)
			}
		})
	}
}

// countVisits returns a count of the looks at shards' deadlines from now on.
func countVisits(s *Store) *int {
	n := 0
	s.data.visitForTesting = func() { n++ }
	return &n
}

// TestRound_Visits shows that a round of many writes, each of which takes the key
// that expires first, or has expired, steps over each of them a few times, not once
// for each write behind it.
func TestRound_Visits(t *testing.T) {
	const keys, shards = 4000, 4
	for _, expired := range []bool{false, true} {
		var now atomic.Int64
		s := mustFill(t, keys, WithShardCount(shards), WithEvictionPolicy(EvictionTTL), WithClock(func() time.Time { return time.Unix(0, now.Load()) }))
		if expired {
			now.Store(int64(time.Hour))
		}
		visits := countVisits(s)
		mustRound(t, s, newRound(maxRoundWrites))
		if *visits > maxRoundWrites*(shards+2) {
			t.Errorf("expired=%t: %d writes looked %d times at %d shards", expired, maxRoundWrites, *visits, shards)
		}
		for i := range maxRoundWrites {
			if r := s.data.get(fmt.Sprint(i)); r.first != nil {
				t.Fatalf("expired=%t: key %d of those that expire first is there", expired, i)
			}
		}
		if s.Len() != keys {
			t.Errorf("expired=%t: %d keys, want %d", expired, s.Len(), keys)
		}
	}
}

// TestRound_RefusedGoesBack shows that what a refused write of a round would have
// taken is taken by the next.
func TestRound_RefusedGoesBack(t *testing.T) {
	s := mustFill(t, 10, WithEvictionPolicy(EvictionTTL))
	refused := &write{decide: func(p *plan) error {
		p.expireDue(func() bool { return false })
		_ = p.set("a", []byte("v"), 0)
		if err := p.makeRoom(); err != nil {
			return err
		}
		return ErrKeyNotFound
	}}
	group := append(newRound(1), refused)
	group = append(group, &write{decide: func(p *plan) error { return p.set("b", []byte("v"), 0) }})
	n := decideAll(s, group)
	if n != 3 || refused.err != ErrKeyNotFound {
		t.Fatalf("%d writes were decided, %v", n, refused.err)
	}
	for key, want := range map[string]bool{"0": false, "1": false, "2": true, "new0": true, "a": false, "b": true} {
		if s.Exists(key) != want {
			t.Errorf("key %s: got %t, want %t", key, !want, want)
		}
	}
}

// TestRemoveExpired_Visits shows that removing what has expired costs by its
// number, and by the number of shards once for each write.
func TestRemoveExpired_Visits(t *testing.T) {
	const keys, writes = 20_000, 20_000/maxExpirePerWrite + 1
	var now atomic.Int64
	s := mustFill(t, keys, WithShardCount(MaxShards), WithClock(func() time.Time { return time.Unix(0, now.Load()) }))
	now.Store(int64(time.Hour))
	visits := countVisits(s)
	s.removeExpired()
	if *visits > keys+writes*(MaxShards+1) || s.Len() != 0 {
		t.Errorf("%d looks at the deadlines of %d shards for %d keys, %d of which are left", *visits, MaxShards, keys, s.Len())
	}
}

// TestMakeRoom_Hopeless shows that nothing is planned to go for a value that
// would not fit even alone.
func TestMakeRoom_Hopeless(t *testing.T) {
	s, err := New(WithMaxBytes(100), WithEvictionPolicy(EvictionTTL))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for i := range 10 {
		if err := s.Set(fmt.Sprint(i), []byte("v")); err != nil {
			t.Fatal(err)
		}
	}
	var planned *plan
	err = s.submit(func(p *plan) error {
		planned = p
		return p.set("big", make([]byte, 100), 0)
	})
	if !IsFull(err) || len(planned.evicted) > 0 || s.Len() != 10 {
		t.Errorf("got %v, %d keys planned to go, %d keys left", err, len(planned.evicted), s.Len())
	}
}
