package mvcc_test

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"runtime/metrics"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/kvorum/kvorum/fsm/mvcc"
	"github.com/kvorum/kvorum/internal/omap"
	"github.com/kvorum/kvorum/kv"
)

// versus measures two implementations in turns, with batches of ops operations, and reports
// the time of an operation of each, and the ratio of the first to the second.
func versus(b *testing.B, ops int, mine, others func()) {
	var mineTime, othersTime time.Duration
	for b.Loop() {
		began := time.Now()
		mine()
		middle := time.Now()
		others()
		mineTime += middle.Sub(began)
		othersTime += time.Since(middle)
	}
	n := float64(b.N * ops)
	b.ReportMetric(float64(mineTime.Nanoseconds())/n, "mvcc-ns/op")
	b.ReportMetric(float64(othersTime.Nanoseconds())/n, "omap-ns/op")
	b.ReportMetric(float64(mineTime)/float64(othersTime), "mvcc/omap")
	b.ReportMetric(0, "ns/op")
}

// fill puts n keys with values of 100 bytes into a store and a map, in entries of 100.
func fill(n int, order []int) (*mvcc.Store, *omap.Map) {
	s, m := mvcc.New(mvcc.Options{}), omap.New(0)
	tx := s.Begin()
	tx.KeepHistory()
	value := make([]byte, 100)
	for i, k := range order[:n] {
		if i%100 == 0 {
			tx.Commit(nil)
			tx = s.Begin()
		}
		tx.NextRequest()
		tx.Put(kv.Item{Key: key(k), Value: value})
		m.Set(omap.Item{Key: key(k), Value: value, CreateRevision: uint64(i), ModRevision: uint64(i), Version: 1})
	}
	tx.Commit(nil)
	return s, m
}

func shuffled(n int) []int { return rand.Perm(n) }

func ascending(n int) []int {
	order := make([]int, n)
	for i := range order {
		order[i] = i
	}
	return order
}

// keysOf returns n random keys of those that fill made.
func keysOf(n, total int) []string {
	keys := make([]string, n)
	for i := range keys {
		keys[i] = key(rand.IntN(total))
	}
	return keys
}

// BenchmarkVersus_Get reads random keys.
func BenchmarkVersus_Get(b *testing.B) {
	const ops = 20_000
	for _, n := range []int{10_000, 1_000_000} {
		b.Run(fmt.Sprintf("keys=%d", n), func(b *testing.B) {
			s, m := fill(n, shuffled(n))
			defer s.Close()
			keys := keysOf(ops, n)
			versus(b, ops, func() {
				for _, k := range keys {
					if _, _, found := s.Get(k); !found {
						b.Fatal("key is missing")
					}
				}
			}, func() {
				for _, k := range keys {
					if _, found := m.Get(k); !found {
						b.Fatal("key is missing")
					}
				}
			})
		})
	}
}

// BenchmarkVersus_Put overwrites random keys in entries of one or 100 requests. The store
// keeps the last hundred thousand revisions.
func BenchmarkVersus_Put(b *testing.B) {
	const ops, kept = 20_000, 100_000
	for _, n := range []int{10_000, 1_000_000} {
		for _, entry := range []int{1, 100} {
			b.Run(fmt.Sprintf("keys=%d/entry=%d", n, entry), func(b *testing.B) {
				s, m := fill(n, shuffled(n))
				defer s.Close()
				changes := make([]omap.Change, 0, entry)
				keys, value := keysOf(ops, n), make([]byte, 100)
				var revision uint64
				versus(b, ops, func() {
					for i := 0; i < ops; i += entry {
						tx := s.Begin()
						for _, k := range keys[i : i+entry] {
							tx.NextRequest()
							tx.Put(kv.Item{Key: k, Value: value})
						}
						if i == 0 && tx.Revision() > kept {
							_ = tx.Compact(tx.Revision() - kept) // the first time it may be compacted
						}
						tx.Commit(nil)
					}
				}, func() {
					for i := 0; i < ops; i += entry {
						for _, k := range keys[i : i+entry] {
							revision++
							old, _ := m.Get(k)
							changes = append(changes, omap.Put(omap.NewRecord(omap.Item{Key: k, Value: value, CreateRevision: old.CreateRevision, ModRevision: revision, Version: old.Version + 1})))
						}
						m.Apply(changes)
						changes = changes[:0]
					}
				})
			})
		}
	}
}

// BenchmarkVersus_List lists 100 keys of a prefix.
func BenchmarkVersus_List(b *testing.B) {
	const ops = 200
	for _, n := range []int{10_000, 1_000_000} {
		for name, order := range map[string][]int{"ascending": ascending(n), "random": shuffled(n)} {
			b.Run(fmt.Sprintf("keys=%d/%s", n, name), func(b *testing.B) {
				s, m := fill(n, order)
				defer s.Close()
				prefixes := make([]string, ops)
				for i := range prefixes {
					prefixes[i] = key(rand.IntN(n))[:14]
				}
				versus(b, ops, func() {
					for _, prefix := range prefixes {
						v, _ := s.View(0)
						got := 0
						for range v.Ascend(kv.Prefix(prefix)) {
							got++
						}
						if v.Close(); got != 100 {
							b.Fatalf("got %d keys", got)
						}
					}
				}, func() {
					for _, prefix := range prefixes {
						got := 0
						for range m.View().All(prefix, "") {
							got++
						}
						if got != 100 {
							b.Fatalf("got %d keys", got)
						}
					}
				})
			})
		}
	}
}

// BenchmarkHeap reports the memory of a key, and of a superseded version beyond key and
// value.
func BenchmarkHeap(b *testing.B) {
	const n = 1_000_000
	for name, order := range map[string][]int{"ascending": ascending(n), "random": shuffled(n)} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				before := heapInUse()
				s, m := fill(n, order)
				both := heapInUse() - before
				runtime.KeepAlive(m) // and no longer
				mine := heapInUse() - before
				b.ReportMetric(float64(mine)/n, "mvcc-B/key")
				b.ReportMetric(float64(both-mine)/n, "omap-B/key")
				overwrite(s, order)
				b.ReportMetric(float64(heapInUse()-before-mine)/n-116, "version-B")
				compact(b, s, s.Revision())
				s.Settle()
				b.ReportMetric(float64(heapInUse()-before)/n, "compacted-B/key")
				s.Close()
			}
		})
	}
}

// overwrite sets all keys again.
func overwrite(s *mvcc.Store, order []int) {
	value := make([]byte, 100)
	for i := 0; i < len(order); i += 100 {
		tx := s.Begin()
		for _, k := range order[i : i+100] {
			tx.NextRequest()
			tx.Put(kv.Item{Key: key(k), Value: value})
		}
		tx.Commit(nil)
	}
}

func heapInUse() uint64 {
	runtime.GC()
	runtime.GC()
	var ms runtime.MemStats
	runtime.ReadMemStats(&ms)
	return ms.HeapInuse
}

// BenchmarkCollector reports the garbage collector's processor time for each put. Only the
// store is in memory.
func BenchmarkCollector(b *testing.B) {
	for _, n := range []int{10_000, 1_000_000, 10_000_000} {
		b.Run(fmt.Sprintf("keys=%d", n), func(b *testing.B) {
			s := mvcc.New(mvcc.Options{})
			defer s.Close()
			value, memory := make([]byte, 100), make([]byte, 0, 16)
			set := func(i int) {
				memory = append(strconv.AppendUint(memory[:0], 1e9+uint64(i), 10), "-of-16"...)
				tx := s.Begin()
				tx.NextRequest()
				tx.Put(kv.Item{Key: unsafe.String(unsafe.SliceData(memory), len(memory)), Value: value})
				tx.Commit(nil)
			}
			for i := range n {
				set(i)
			}
			runtime.GC()
			before, puts := collectorSeconds(), 0
			for b.Loop() {
				for range 3_000_000 {
					set(rand.IntN(n))
				}
				puts += 3_000_000
			}
			runtime.GC() // what is left over belongs to these puts, too
			b.ReportMetric((collectorSeconds()-before)*1e9/float64(puts), "gc-ns/put")
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(puts), "ns/put")
		})
	}
}

// collectorSeconds returns the processor time that the garbage collector has used.
func collectorSeconds() float64 {
	sample := []metrics.Sample{{Name: "/cpu/classes/gc/total:cpu-seconds"}}
	metrics.Read(sample)
	return sample[0].Value.Float64()
}

// BenchmarkLoad makes a store of a million keys, and one with as many superseded versions.
func BenchmarkLoad(b *testing.B) {
	const n = 1_000_000
	for _, history := range []bool{false, true} {
		b.Run(fmt.Sprintf("history=%t", history), func(b *testing.B) {
			s, _ := fill(n, ascending(n))
			defer s.Close()
			if history {
				overwrite(s, shuffled(n))
			} else {
				compact(b, s, s.Revision())
			}
			snapshot := s.Snapshot()
			defer snapshot.Close()
			blocks := blocksOf(snapshot, 2000)
			runtime.GC()
			for b.Loop() {
				copyOf(b, snapshot, blocks).Close()
			}
		})
	}
}

// BenchmarkCompact compacts a million versions. It reports how long steps hold the locks, for
// which a writer waits, and the longest time of an entry of one put meanwhile. The processor
// time of a step has no preemption by other work in it.
func BenchmarkCompact(b *testing.B) {
	const n = 1_000_000
	for _, keys := range []int{1, 1000, n} {
		b.Run(fmt.Sprintf("keys=%d/steps", keys), func(b *testing.B) {
			var steps []time.Duration
			var longest time.Duration // of the thread's processor time
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			for b.Loop() {
				s := superseded(keys, n)
				s.HoldReclaimer()
				compact(b, s, s.Revision())
				for more := true; more; {
					began, used := time.Now(), threadTime()
					more = s.Step()
					steps = append(steps, time.Since(began))
					longest = max(longest, threadTime()-used)
				}
				s.Close()
			}
			slices.Sort(steps)
			b.ReportMetric(float64(steps[len(steps)/2].Microseconds()), "median-µs")
			b.ReportMetric(float64(steps[len(steps)*99/100].Microseconds()), "p99-µs")
			b.ReportMetric(float64(steps[len(steps)-1].Microseconds()), "longest-µs")
			b.ReportMetric(float64(longest.Microseconds()), "longest-cpu-µs")
			b.ReportMetric(float64(len(steps)/b.N), "steps")
		})
		b.Run(fmt.Sprintf("keys=%d/puts", keys), func(b *testing.B) {
			var puts []time.Duration
			for b.Loop() {
				s := superseded(keys, n)
				compact(b, s, s.Revision())
				for target := s.CompactRevision(); s.Stats().Reclaimed < target; {
					began := time.Now()
					put(s, "value", key(len(puts)%keys))
					puts = append(puts, time.Since(began))
				}
				s.Close()
			}
			slices.Sort(puts)
			b.ReportMetric(float64(puts[len(puts)/2].Nanoseconds())/1000, "median-µs")
			b.ReportMetric(float64(puts[len(puts)*99/100].Microseconds()), "p99-µs")
			b.ReportMetric(float64(puts[len(puts)-1].Microseconds()), "longest-µs")
		})
	}
}

// BenchmarkCompact_Deletions compacts the deletions of a million keys, which a view names.
func BenchmarkCompact_Deletions(b *testing.B) {
	const n = 1_000_000
	var longest time.Duration // of the thread's processor time
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for b.Loop() {
		s, _ := fill(n, shuffled(n))
		s.HoldReclaimer()
		tx := s.Begin()
		for i := range n {
			tx.NextRequest()
			tx.Delete(key(i), 0)
		}
		tx.Commit(nil)
		compact(b, s, s.Revision())
		v, err := s.View(0)
		if err != nil {
			b.Fatal(err)
		}
		for range 2 {
			for more := true; more; {
				used := threadTime()
				more = s.Step()
				longest = max(longest, threadTime()-used)
			}
			v.Close()
		}
		s.Close()
	}
	b.ReportMetric(float64(longest.Microseconds()), "longest-cpu-µs")
}

// BenchmarkStore_GetAtOld reads a key with a million versions at revisions of any age.
func BenchmarkStore_GetAtOld(b *testing.B) {
	s := superseded(1, 1_000_000)
	defer s.Close()
	newest, name := s.Revision(), key(0)
	for b.Loop() {
		if _, _, err := s.GetAt(name, 2+rand.Uint64N(newest-1)); err != nil {
			b.Fatal(err)
		}
	}
}

// superseded returns a store with n superseded versions of some keys.
func superseded(keys, n int) *mvcc.Store {
	s, _ := fill(keys, shuffled(keys))
	order := make([]int, n)
	for i := range order {
		order[i] = i % keys
	}
	overwrite(s, order)
	runtime.GC()
	return s
}

// BenchmarkStore_GetParallel reads while a writer changes keys.
func BenchmarkStore_GetParallel(b *testing.B) {
	const n = 100_000
	s, _ := fill(n, shuffled(n))
	defer s.Close()
	keys := keysOf(10_000, n)
	var stop atomic.Bool
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; !stop.Load(); i++ {
			put(s, "value", keys[i%len(keys)])
		}
	}()
	b.RunParallel(func(pb *testing.PB) {
		for i := rand.IntN(n); pb.Next(); i++ {
			s.Get(keys[i%len(keys)])
		}
	})
	stop.Store(true)
	<-done
}
