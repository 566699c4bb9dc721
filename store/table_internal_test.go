package store

import (
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"
)

func recordOf(key string, version uint64) record {
	return newRecord(Item{Key: key, Version: version})
}

// A table behaves like a Go map, through growth, splits and deletes.
func TestTable_Model(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var table table
		table.init(rapid.IntRange(0, 5000).Draw(t, "room"))
		model := map[string]uint64{}
		bulk := rapid.IntRange(1, 4000)
		set := func(key string, version uint64) {
			old := table.set(hashOf(key), recordOf(key, version))
			if want, ok := model[key]; ok != (old.first != nil) || ok && old.item().Version != want {
				t.Fatalf("set %s: got another old record than version %d (%v)", key, want, ok)
			}
			model[key] = version
		}
		remove := func(key string) {
			old := table.delete(hashOf(key), key)
			if want, ok := model[key]; ok != (old.first != nil) || ok && old.item().Version != want {
				t.Fatalf("delete %s: got another old record than version %d (%v)", key, want, ok)
			}
			delete(model, key)
		}
		for i := range rapid.IntRange(1, 8).Draw(t, "steps") {
			from, n := bulk.Draw(t, "from"), bulk.Draw(t, "n")
			if rapid.IntRange(0, 2).Draw(t, "what") > 0 {
				for k := range n {
					set(fmt.Sprint("key", from+k), uint64(i))
				}
			} else {
				for k := range n {
					remove(fmt.Sprint("key", from+k))
				}
			}
		}
		checkTable(t, &table, model)
	})
}

func checkTable(t *rapid.T, table *table, model map[string]uint64) {
	t.Helper()
	for key, want := range model {
		if r := table.get(hashOf(key), key); r.first == nil || r.item().Version != want {
			t.Fatalf("get %s: version %d is not there", key, want)
		}
	}
	for i := range 100 {
		key := fmt.Sprint("absent", i)
		if r := table.get(hashOf(key), key); r.first != nil {
			t.Fatalf("get %s: got a record", key)
		}
	}
	seen := map[string]bool{}
	table.all(func(r record) bool {
		seen[r.key()] = true
		return true
	})
	if len(seen) != len(model) || table.count != len(model) {
		t.Fatalf("all shows %d keys, count is %d, want %d", len(seen), table.count, len(model))
	}
}

// Readers meet a key that is always there at any time, and its version never
// goes back, while the table grows, splits, shrinks and reuses slots.
func TestTable_ReadersBesideAWriter(t *testing.T) {
	var table table
	table.init(0)
	const steady, rounds = 64, 30
	write := func(version uint64) {
		for i := range steady {
			key := fmt.Sprint("steady", i)
			table.set(hashOf(key), recordOf(key, version))
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
				r := table.get(hashOf(key), key)
				if r.first == nil || r.item().Version < last[i%steady] {
					t.Errorf("%s is missing, or older than version %d", key, last[i%steady])
					return
				}
				last[i%steady] = r.item().Version
			}
		})
	}
	for round := range uint64(rounds) {
		write(round + 2)
		for i := range 5000 {
			key := fmt.Sprint("passing", i)
			if round%3 == 2 {
				table.delete(hashOf(key), key)
			} else {
				table.set(hashOf(key), recordOf(key, round))
			}
		}
	}
	done.Store(true)
	readers.Wait()
}

// Samples are spread evenly over a table whose parts are of different depths.
func TestTable_RandomIsEven(t *testing.T) {
	var table table
	table.init(0)
	const keys, draws = 20_000, 400_000
	for i := range keys {
		key := fmt.Sprint("key", i)
		table.set(hashOf(key), recordOf(key, uint64(i)))
	}
	counts := make([]float64, keys)
	for range draws {
		r := table.random()
		if r.first == nil {
			t.Fatal("random met no record in a full table")
		}
		counts[r.item().Version]++
	}
	// Each count is near a Poisson variable of mean 20: the variance tells.
	var variance float64
	const mean = float64(draws) / keys
	for _, c := range counts {
		variance += (c - mean) * (c - mean) / keys
	}
	if ratio := variance / mean; math.Abs(ratio-1) > 0.15 {
		t.Errorf("counts vary %.2f times as much as even draws would", ratio)
	}
}
