package omap_test

import (
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"

	"github.com/kvorum/kvorum/internal/omap"
)

// TestTable_BehavesLikeAGoMap compares the hash table with a Go map, over growth, splits and
// deletes.
func TestTable_BehavesLikeAGoMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := omap.New(1)
		m.Reserve(rapid.IntRange(0, 5000).Draw(t, "room"))
		model := map[string]uint64{}
		bulk := rapid.IntRange(1, 4000)
		checkOld := func(key string, old omap.Item, existed bool) {
			if want, ok := model[key]; ok != existed || old.Version != want {
				t.Fatalf("%s: got an old version %d (%t), want %d (%t)", key, old.Version, existed, want, ok)
			}
		}
		for i := range rapid.IntRange(1, 8).Draw(t, "steps") {
			from, n := bulk.Draw(t, "from"), bulk.Draw(t, "n")
			sets := rapid.IntRange(0, 2).Draw(t, "what") > 0
			for k := range n {
				key := fmt.Sprint("key", from+k)
				if sets {
					old, existed := m.Set(omap.Item{Key: key, Version: uint64(i)})
					checkOld(key, old, existed)
					model[key] = uint64(i)
				} else {
					old, existed := m.Delete(key)
					checkOld(key, old, existed)
					delete(model, key)
				}
			}
		}
		checkTable(t, m, model)
	})
}

func checkTable(t *rapid.T, m *omap.Map, model map[string]uint64) {
	t.Helper()
	for key, want := range model {
		if it, ok := m.Get(key); !ok || it.Version != want {
			t.Fatalf("get %s: version %d is not there", key, want)
		}
	}
	for i := range 100 {
		key := fmt.Sprint("absent", i)
		if !m.Record(key).IsZero() {
			t.Fatalf("get %s: got a record", key)
		}
	}
	seen := map[string]bool{}
	for r := range m.Records() {
		if _, ok := model[r.Key()]; !ok || seen[r.Key()] {
			t.Fatalf("Records shows %s twice, or one that was deleted", r.Key())
		}
		seen[r.Key()] = true
	}
	if len(seen) != len(model) || m.Len() != len(model) {
		t.Fatalf("Records shows %d keys, Len is %d, want %d", len(seen), m.Len(), len(model))
	}
}

// TestTable_ReadersBesideAWriter shows that readers always find a key that is never deleted,
// and that its version never decreases, while the table grows, splits, shrinks and reuses
// slots.
func TestTable_ReadersBesideAWriter(t *testing.T) {
	m := omap.New(1)
	const steady, rounds = 64, 30
	write := func(version uint64) {
		for i := range steady {
			m.Set(omap.Item{Key: fmt.Sprint("steady", i), Version: version})
		}
	}
	write(1)
	var done atomic.Bool
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			var last [steady]uint64
			for i := 0; !done.Load(); i++ {
				key := fmt.Sprint("steady", i%steady)
				it, ok := m.Get(key)
				if !ok || it.Version < last[i%steady] {
					t.Errorf("%s is missing, or older than version %d", key, last[i%steady])
					return
				}
				last[i%steady] = it.Version
			}
		})
	}
	for round := range uint64(rounds) {
		write(round + 2)
		for i := range 5000 {
			key := fmt.Sprint("passing", i)
			if round%3 == 2 {
				m.Delete(key)
			} else {
				m.Set(omap.Item{Key: key, Version: round})
			}
		}
	}
	done.Store(true)
	readers.Wait()
}

// TestMap_SampleIsEven shows that samples are spread evenly over a table whose parts have
// different depths, and over several tables.
func TestMap_SampleIsEven(t *testing.T) {
	const keys, draws = 20_000, 400_000
	for _, shards := range []int{1, 16} {
		m := omap.New(shards)
		for i := range keys {
			m.Set(omap.Item{Key: fmt.Sprint("key", i), Version: uint64(i)})
		}
		counts := make([]float64, keys)
		for range draws {
			r := m.Sample()
			if r.IsZero() {
				t.Fatal("a sample of a full map met no record")
			}
			counts[r.Item().Version]++
		}
		// Each count is near a Poisson variable of mean 20: the variance tells.
		var variance float64
		const mean = float64(draws) / keys
		for _, c := range counts {
			variance += (c - mean) * (c - mean) / keys
		}
		if ratio := variance / mean; math.Abs(ratio-1) > 0.15 {
			t.Errorf("%d shards: counts vary %.2f times as much as even draws would", shards, ratio)
		}
	}
	if !omap.New(1).Sample().IsZero() {
		t.Error("a sample of an empty map is a record")
	}
}
