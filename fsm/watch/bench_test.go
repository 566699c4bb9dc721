package watch_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kvorum/kvorum/kv"
)

// BenchmarkPut puts keys that none or one of 10,000 watchers of distinct prefixes watches,
// beside puts that nobody could watch. Each entry has one put. The history is compacted now
// and then, as it would be.
func BenchmarkPut(b *testing.B) {
	const watchers = 10_000
	for _, bb := range []struct {
		name     string
		watchers int
		key      string // format of the keys
	}{
		{"watchers=0", 0, "watched/%05d/key"},
		{"watchers=10000/match=0", watchers, "watchez/%05d/key"},
		{"watchers=10000/match=1", watchers, "watched/%05d/key"},
	} {
		b.Run(bb.name, func(b *testing.B) {
			m := newMachine()
			var events atomic.Int64
			wait := follow(b, m, bb.watchers, func(i int) kv.Span { return kv.Prefix(fmt.Sprintf("watched/%05d/", i)) }, &events)
			requests := make([][]request, watchers)
			for i := range requests {
				requests[i] = []request{{{fmt.Sprintf(bb.key, i), "0123456789abcdef0123456789abcdef"}}}
			}
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				m.apply(requests[i*7919%watchers]...)
				if i%100_000 == 99_999 {
					m.compact(m.store.Revision() - 50_000)
				}
			}
			b.StopTimer()
			m.close()
			wait()
			b.ReportMetric(float64(events.Load())/float64(b.N), "events/op")
		})
	}
}

// BenchmarkFanOut puts keys of one prefix that 1,000 watchers watch, and waits while they are
// more than 100 events behind.
func BenchmarkFanOut(b *testing.B) {
	const watchers, behind = 1000, 100
	m := newMachine()
	var events atomic.Int64
	wait := follow(b, m, watchers, func(int) kv.Span { return kv.Prefix("watched/") }, &events)
	put := []request{{{"watched/key", "0123456789abcdef0123456789abcdef"}}}
	b.ReportAllocs()
	b.ResetTimer()
	var apply time.Duration
	for i := range int64(b.N) {
		began := time.Now()
		m.apply(put...)
		apply += time.Since(began)
		for events.Load() < (i+1-behind)*watchers {
			time.Sleep(10 * time.Microsecond)
		}
		if i%1000 == 999 {
			m.compact(m.store.Revision() - 500)
		}
	}
	b.StopTimer()
	m.close()
	wait()
	b.ReportMetric(float64(apply.Nanoseconds())/float64(b.N), "ns-of-apply/op")
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(events.Load()), "ns/event")
}

// follow starts watchers that count events until the machine is closed. It returns a function
// that waits for their end.
func follow(b *testing.B, m *machine, watchers int, span func(i int) kv.Span, events *atomic.Int64) (wait func()) {
	var running sync.WaitGroup
	for i := range watchers {
		w := m.mustWatch(b, kv.WatchOptions{Span: span(i)})
		running.Go(func() {
			for {
				batch, err := w.Next(context.Background())
				if errors.Is(err, kv.ErrClosed) {
					return
				} else if err != nil {
					b.Error(err)
					return
				}
				events.Add(int64(len(batch.Events)))
			}
		})
	}
	return running.Wait
}
