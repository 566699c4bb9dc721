package store

import (
	"fmt"
	"testing"
	"time"
)

// newRound returns writes that set n new keys, to be decided as one round.
func newRound(n int) []*write {
	group := make([]*write, n)
	for i := range group {
		group[i] = &write{decide: func(p *plan) error { return p.set(fmt.Sprintf("new%d", i), []byte("v"), time.Hour) }}
	}
	return group
}

// decideAll decides as many writes of a group as one round takes, applies it and
// returns their number.
func decideAll(s *Store, group []*write) int {
	s.deciding.Lock()
	defer s.deciding.Unlock()
	var r round
	for _, w := range group {
		if r.full() || !s.decide(&r, w, s.now()) {
			break
		}
	}
	s.apply(&r)
	return len(r.writes)
}

// mustRound decides a group of writes as one round.
func mustRound(t testing.TB, s *Store, group []*write) {
	t.Helper()
	n := decideAll(s, group)
	for _, w := range group {
		if w.err != nil {
			t.Fatal(w.err)
		}
	}
	if n != len(group) {
		t.Fatalf("%d of %d writes were decided", n, len(group))
	}
}

// mustFill returns a store in memory of n keys that has room for no more; each
// key has a deadline of its own.
func mustFill(t testing.TB, n int, opts ...Option) *Store {
	t.Helper()
	s, err := New(append([]Option{WithMaxEntries(n)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	for i := range n {
		if err := s.SetWithTTL(fmt.Sprint(i), []byte("v"), time.Minute+time.Duration(i)); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// BenchmarkRound measures a round of as many writes as it takes, each of which
// needs the room of another key.
func BenchmarkRound(b *testing.B) {
	for _, policy := range []EvictionPolicy{EvictionLRU, EvictionLFU, EvictionRandom, EvictionTTL} {
		b.Run(policy.String(), func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				s, group := mustFill(b, 10_000, WithEvictionPolicy(policy)), newRound(maxRoundWrites)
				b.StartTimer()
				mustRound(b, s, group)
				b.StopTimer()
				_ = s.Close()
				b.StartTimer()
			}
		})
	}
}
