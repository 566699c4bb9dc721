package store

import (
	"fmt"
	"testing"
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
			for r := range m.victims(policy, true, taken) {
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
