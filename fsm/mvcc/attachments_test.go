package mvcc_test

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/kvorum/kvorum/fsm/mvcc"
	"github.com/kvorum/kvorum/kv"
)

// TestStore_Attachments compares the index of the keys of leases with a map, also after the
// store was loaded again.
func TestStore_Attachments(t *testing.T) {
	leases := []kv.LeaseID{0, 1, 2, -1, math.MaxInt64, math.MinInt64}
	rapid.Check(t, func(t *rapid.T) {
		e := &expiring{s: mvcc.New(mvcc.Options{}), deadlines: map[string]int64{}}
		defer func() { _ = e.s.Close() }()
		attached := map[string]kv.LeaseID{}
		want := func(lease kv.LeaseID, hidden bool) []string {
			keys := []string{}
			for key, of := range attached {
				if of == lease && (hidden || e.deadlines[key] == 0 || e.deadlines[key] > e.clock) {
					keys = append(keys, key)
				}
			}
			slices.Sort(keys)
			return keys
		}
		tx := e.s.Begin()
		tx.KeepHistory()
		tx.Commit(nil)
		t.Repeat(map[string]func(*rapid.T){
			"entry": func(t *rapid.T) {
				tx := e.s.Begin()
				defer tx.Commit(nil)
				e.clock += rapid.Int64Range(0, 2).Draw(t, "time")
				tx.SetClock(e.clock)
				tx.NextRequest()
				for range rapid.IntRange(0, 5).Draw(t, "changes") {
					key := fmt.Sprintf("k%02d", rapid.IntRange(0, 20).Draw(t, "key"))
					tx.Expire(key, 1)
					if rapid.IntRange(0, 3).Draw(t, "delete") == 0 {
						tx.Delete(key, 0)
						delete(attached, key)
						continue
					}
					attached[key] = rapid.SampledFrom(leases).Draw(t, "lease")
					e.deadlines[key] = rapid.SampledFrom([]int64{0, 0, e.clock + 1, e.clock + 3}).Draw(t, "deadline")
					tx.Put(kv.Item{Key: key, Lease: attached[key], Deadline: e.deadlines[key]})
				}
				for _, lease := range leases[1:] {
					keys := want(lease, true)
					if got := tx.LeaseKeys([]string{}, lease); !slices.Equal(got, keys) || tx.LeaseLen(lease) != len(keys) {
						t.Fatalf("lease %d has %d keys %q, want %q", lease, tx.LeaseLen(lease), got, keys)
					}
				}
			},
			"load": e.load,
			"": func(t *rapid.T) {
				known := slices.Sorted(e.s.AttachedLeases())
				for _, lease := range leases[1:] {
					all, visible := want(lease, true), want(lease, false)
					if got := e.s.LeaseKeys(lease); !slices.Equal(got, visible) || e.s.LeaseLen(lease) != len(all) {
						t.Fatalf("lease %d has %d keys %q, want %q", lease, e.s.LeaseLen(lease), got, visible)
					}
					if slices.Contains(known, lease) != (len(all) > 0) {
						t.Fatalf("leases with keys are %d, and %d has %q", known, lease, all)
					}
				}
			},
		})
	})
}
