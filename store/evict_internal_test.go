package store

import (
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kvorum/kvorum/internal/omap"
)

// victimKeys returns the keys of up to n victims.
func victimKeys(s *Store, policy EvictionPolicy, n int, spare func(string) bool) (keys []string) {
	taken := func(key string) bool { return slices.Contains(keys, key) || spare(key) }
	for r := range s.victims(policy, omap.Record{}, evictsMany(int64(n), int64(s.data.Len())), taken) {
		if keys = append(keys, r.Key()); len(keys) == n {
			break
		}
	}
	return keys
}

// TestVictims_BestFirst shows which keys each policy takes, in which order.
func TestVictims_BestFirst(t *testing.T) {
	s := &Store{data: omap.New(4)}
	for i := range int64(8) { // few enough to be in every sample
		s.data.Set(omap.Item{Key: fmt.Sprint(i), Deadline: map[bool]int64{true: 100 - i}[i < 4], Updated: 1})
	}
	at := time.Now().UnixNano()
	for i := range 8 { // 7 is read first and most, 0 last and least
		for range i + 1 {
			touch(s.data.Record(fmt.Sprint(i)), at-int64(i)*int64(time.Second))
		}
	}
	spare := func(key string) bool { return key == "0" || key == "7" }
	for _, tt := range []struct {
		policy EvictionPolicy
		n      int
		want   []string // nil: any that are not spared
	}{
		{EvictionNone, 3, []string{}},
		{EvictionLRU, 6, []string{"6", "5", "4", "3", "2", "1"}},
		{EvictionLFU, 6, []string{"1", "2", "3", "4", "5", "6"}},
		{EvictionTTL, 3, []string{"3", "2", "1"}},
		{EvictionTTL, 6, nil}, {EvictionRandom, 6, nil}, {EvictionRandom, 1, nil},
	} {
		got := victimKeys(s, tt.policy, tt.n, spare)
		if tt.want != nil && !slices.Equal(got, tt.want) {
			t.Errorf("%s: got %q, want %q", tt.policy, got, tt.want)
		}
		slices.Sort(got)
		if distinct := slices.Compact(got); tt.want == nil && len(distinct) != tt.n || slices.ContainsFunc(got, spare) {
			t.Errorf("%s: got %q, want %d that are not spared", tt.policy, got, tt.n)
		}
	}
	if got := victimKeys(s, EvictionLFU, 100, func(string) bool { return false }); len(got) != 8 {
		t.Errorf("more victims than keys: got %d", len(got))
	}
}

// TestVictims_OnePass shows that many victims at once cost by the number of keys,
// not by its square: each key is looked at a few times, whatever the policy.
func TestVictims_OnePass(t *testing.T) {
	const keys, stay = 20_000, 100
	for _, policy := range []EvictionPolicy{EvictionLRU, EvictionLFU, EvictionRandom, EvictionTTL} {
		t.Run(policy.String(), func(t *testing.T) {
			s := &Store{data: omap.New(8)}
			for i := range keys {
				s.data.Set(omap.Item{Key: fmt.Sprint(i), Deadline: int64(1 + i/2)})
			}
			looks, gone := 0, map[string]bool{}
			taken := func(key string) bool { looks++; return gone[key] }
			for r := range s.victims(policy, omap.Record{}, evictsMany(keys-stay, keys), taken) {
				if policy == EvictionTTL && r.Deadline() != int64(1+len(gone)/2) {
					t.Fatalf("victim %d has deadline %d", len(gone), r.Deadline())
				}
				if gone[r.Key()] = true; len(gone) == keys-stay {
					break
				}
			}
			if len(gone) != keys-stay || looks > 2*keys {
				t.Errorf("%d victims after %d looks at %d keys", len(gone), looks, keys)
			}
		})
	}
}

// countLooks returns a count of the looks at shards' deadlines from now on.
func countLooks(s *Store) *int {
	n := 0
	s.lookForTesting = func() { n++ }
	return &n
}

// TestRound_Looks shows that a round of many writes, each of which takes the key
// that expires first, or has expired, steps over each of them a few times, not once
// for each write behind it.
func TestRound_Looks(t *testing.T) {
	const keys, shards = 4000, 4
	for _, expired := range []bool{false, true} {
		var now atomic.Int64
		s := mustFill(t, keys, WithShardCount(shards), WithEvictionPolicy(EvictionTTL), WithClock(func() time.Time { return time.Unix(0, now.Load()) }))
		if expired {
			now.Store(int64(time.Hour))
		}
		looks := countLooks(s)
		mustRound(t, s, newRound(maxRoundWrites))
		if *looks > maxRoundWrites*(shards+2) {
			t.Errorf("expired=%t: %d writes looked %d times at %d shards", expired, maxRoundWrites, *looks, shards)
		}
		for i := range maxRoundWrites {
			if r := s.data.Record(fmt.Sprint(i)); !r.IsZero() {
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

// TestRemoveExpired_Looks shows that removing what has expired costs by its
// number, and by the number of shards once for each write.
func TestRemoveExpired_Looks(t *testing.T) {
	const keys, writes = 20_000, 20_000/maxExpirePerWrite + 1
	var now atomic.Int64
	s := mustFill(t, keys, WithShardCount(MaxShards), WithClock(func() time.Time { return time.Unix(0, now.Load()) }))
	now.Store(int64(time.Hour))
	looks := countLooks(s)
	s.removeExpired()
	if *looks > keys+writes*(MaxShards+1) || s.Len() != 0 {
		t.Errorf("%d looks at the deadlines of %d shards for %d keys, %d of which are left", *looks, MaxShards, keys, s.Len())
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
