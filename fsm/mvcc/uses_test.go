package mvcc_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/kvorum/kvorum/fsm/mvcc"
	"github.com/kvorum/kvorum/kv"
)

// victimsOf returns all keys that may be evicted.
func victimsOf(s *mvcc.Store, policy mvcc.Policy) map[string]mvcc.Victim {
	all := map[string]mvcc.Victim{}
	s.Victims(policy, func(string) bool { return false }, func(v mvcc.Victim) bool {
		if _, twice := all[v.Key]; twice {
			panic("a victim twice")
		}
		all[v.Key] = v
		return true
	})
	return all
}

// TestUses_Model shows that the keys which may be evicted, and their bytes, are those that exist and
// are not protected, through puts, deletions, expiry, compaction and new options, with a reader beside.
func TestUses_Model(t *testing.T) {
	const seed = 1
	rng := rand.New(rand.NewPCG(seed, seed))
	s := mvcc.New(mvcc.Options{})
	defer s.Close()
	model, protected := map[string]kv.Item{}, ""
	tx := s.Begin()
	tx.KeepHistory()
	tx.Commit(nil)
	stop := make(chan struct{})
	var reading sync.WaitGroup
	defer reading.Wait()
	defer close(stop)
	reading.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				s.Get(fmt.Sprint(i % 400))
			}
		}
	})
	for round := range int64(150) {
		if round%50 == 10 {
			protected = fmt.Sprint(rng.IntN(3))
			s.TrackUses(&mvcc.UseOptions{Reads: round%100 < 50, Protected: []string{protected}})
		}
		tx := s.Begin()
		tx.SetClock(round)
		for _, key := range tx.DueKeys(nil, 1000) {
			tx.NextRequest()
			tx.Expire(key, 1)
			delete(model, key)
		}
		for range rng.IntN(40) {
			key := fmt.Sprint(rng.IntN(400))
			tx.NextRequest()
			if rng.IntN(3) == 0 {
				tx.Delete(key, 0)
				delete(model, key)
				continue
			}
			it := kv.Item{Key: key, Value: make([]byte, rng.IntN(50))}
			if rng.IntN(4) == 0 {
				it.Deadline = round + 1 + rng.Int64N(20)
			}
			stored, _, _ := tx.Put(it)
			model[key] = stored
		}
		if round%20 == 19 {
			if err := tx.Compact(tx.Revision()); err != nil {
				t.Fatal(err)
			}
		}
		tx.Commit(nil)
		if round < 10 {
			continue
		}
		var keys, bytes int64
		policy := []mvcc.Policy{mvcc.LeastRecentlyUsed, mvcc.LeastOftenRead, mvcc.Random}[round%3]
		got := victimsOf(s, policy)
		for key, it := range model {
			if strings.HasPrefix(key, protected) {
				continue
			}
			keys, bytes = keys+1, bytes+mvcc.Bytes(&it)
			if v := got[key]; v.ModRevision != it.ModRevision || v.Bytes != mvcc.Bytes(&it) {
				t.Fatalf("round %d: got %+v for %s, want revision %d and %d bytes", round, v, key, it.ModRevision, mvcc.Bytes(&it))
			}
		}
		if k, b := s.Evictable(); k != keys || b != bytes || len(got) != int(keys) {
			t.Fatalf("round %d: got %d keys of %d bytes, and %d victims, want %d keys of %d bytes", round, k, b, len(got), keys, bytes)
		}
	}
	for key := range victimsOf(s, mvcc.EarliestDeadline) {
		if model[key].Deadline == 0 {
			t.Errorf("%s has no deadline", key)
		}
	}
	s.TrackUses(nil)
	if k, b := s.Evictable(); k != 0 || b != 0 || len(victimsOf(s, mvcc.Random)) > 0 || len(s.TakeReads(1<<20)) > 0 {
		t.Errorf("got %d keys of %d bytes without options", k, b)
	}
}
