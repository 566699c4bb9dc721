package lessor_test

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/kvorum/kvorum/cluster/lessor"
	"github.com/kvorum/kvorum/kv"
)

func noKeys(kv.LeaseID) int { return 0 }

func grant(id kv.LeaseID, ttl time.Duration) []kv.LeaseChange {
	return []kv.LeaseChange{{ID: id, TTL: ttl, Granted: uint64(id)}}
}

// TestLessor_EndingIsNotRenewed shows that a lease which is due is not kept alive, nor one that Due
// has returned, and that Due returns it until it has ended.
func TestLessor_EndingIsNotRenewed(t *testing.T) {
	l := lessor.New()
	l.Apply(grant(1, 5*time.Second), 100, time.Second)
	if _, answer := l.Renew(1, 6099, 6100); answer != lessor.Renewed {
		t.Fatalf("before its deadline: %v", answer)
	}
	if ids, _ := l.Due(11_099, 9, 9, noKeys); len(ids) != 0 {
		t.Fatalf("due too early: %v", ids)
	}
	if ttl, answer := l.Renew(1, 11_100, 11_100); answer != lessor.Ending || ttl != 0 {
		t.Errorf("at its deadline: %v %v", ttl, answer)
	}
	for range 2 {
		if ids, granted := l.Due(11_100, 9, 9, noKeys); !slices.Equal(ids, []kv.LeaseID{1}) || granted != 1 {
			t.Errorf("due: %v %d", ids, granted)
		}
	}
	if _, answer := l.Renew(1, 0, 0); answer != lessor.Ending {
		t.Errorf("while its end is proposed: %v", answer)
	}
	l.Apply([]kv.LeaseChange{{ID: 1, Ended: true}}, 11_200, 0)
	if _, answer := l.Renew(1, 0, 0); answer != lessor.Unknown || l.Len() != 0 {
		t.Errorf("after its end: %v", answer)
	}
}

// TestLessor_DueIsBounded shows that Due stops after a number of leases, and after a number of
// keys.
func TestLessor_DueIsBounded(t *testing.T) {
	l := lessor.New()
	for id := range kv.LeaseID(9) {
		l.Apply(grant(id+1, time.Duration(9-id)*time.Second), 0, 0)
	}
	if ids, granted := l.Due(99_000, 3, 100, noKeys); !slices.Equal(ids, []kv.LeaseID{9, 8, 7}) || granted != 9 {
		t.Errorf("got %v %d", ids, granted)
	}
	if ids, _ := l.Due(99_000, 9, 5, func(kv.LeaseID) int { return 3 }); len(ids) != 2 {
		t.Errorf("with 3 keys each: got %v", ids)
	}
}

// TestLessor_Model compares deadlines with those of a map.
func TestLessor_Model(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l, now := lessor.New(), int64(0)
		type state struct {
			ttl, deadline int64
			ending        bool
		}
		leases := map[kv.LeaseID]state{}
		id := rapid.Map(rapid.IntRange(1, 6), func(n int) kv.LeaseID { return kv.LeaseID(n) })
		t.Repeat(map[string]func(*rapid.T){
			"grant": func(t *rapid.T) {
				id, ttl, extra := id.Draw(t, "id"), rapid.Int64Range(1, 9).Draw(t, "ttl"), rapid.Int64Range(0, 3).Draw(t, "extra")
				l.Apply(grant(id, time.Duration(ttl)*time.Millisecond), now, time.Duration(extra)*time.Millisecond)
				leases[id] = state{ttl: ttl, deadline: now + ttl + extra}
			},
			"end": func(t *rapid.T) {
				id := id.Draw(t, "id")
				l.Apply([]kv.LeaseChange{{ID: id, Ended: true}}, now, 0)
				delete(leases, id)
			},
			"renew": func(t *rapid.T) {
				id := id.Draw(t, "id")
				one, known := leases[id]
				want := lessor.Unknown
				switch {
				case known && (one.ending || one.deadline <= now):
					want = lessor.Ending
				case known:
					want = lessor.Renewed
					one.deadline = max(one.deadline, now+1+one.ttl)
					leases[id] = one
				}
				if _, got := l.Renew(id, now, now+1); got != want {
					t.Fatalf("renew of %d: got %v, want %v", id, got, want)
				}
			},
			"due": func(t *rapid.T) {
				ids, _ := l.Due(now, 3, 99, noKeys)
				for _, id := range ids {
					one := leases[id]
					if one.deadline > now {
						t.Fatalf("lease %d is due at %d, its deadline is %d", id, now, one.deadline)
					}
					one.ending = true
					leases[id] = one
				}
			},
			"": func(t *rapid.T) {
				now++
				next := int64(1 << 62)
				for id, one := range leases {
					next = min(next, one.deadline)
					want := max(0, one.deadline-now)
					if one.ending {
						want = 0
					}
					if left, ttl, known := l.Remaining(id, now); !known || left.Milliseconds() != want || ttl.Milliseconds() != one.ttl {
						t.Fatalf("lease %d: got %v of %v %t, want %d of %d", id, left, ttl, known, want, one.ttl)
					}
				}
				if at, some := l.Next(); some != (len(leases) > 0) || some && at != next || l.Len() != len(leases) {
					t.Fatalf("next is %d %t of %d, want %d of %d", at, some, l.Len(), next, len(leases))
				}
			},
		})
	})
}

// BenchmarkLessor_100000 renews leases among 100,000, and looks for those that are due.
func BenchmarkLessor_100000(b *testing.B) {
	l := lessor.New()
	for id := range kv.LeaseID(100_000) {
		l.Apply(grant(id+1, time.Hour), int64(id), 0)
	}
	b.Run("Renew", func(b *testing.B) {
		for i := range b.N {
			l.Renew(kv.LeaseID(i%100_000+1), int64(i), int64(i))
		}
	})
	b.Run("Due", func(b *testing.B) {
		for range b.N {
			if ids, _ := l.Due(0, 1000, 1000, noKeys); len(ids) > 0 {
				b.Fatal("a lease is due")
			}
		}
	})
}
