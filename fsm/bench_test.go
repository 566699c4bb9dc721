package fsm_test

import (
	"bytes"
	"fmt"
	"io"
	"sync"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/fsm"
	"github.com/kvorum/kvorum/internal/wire"
	"github.com/kvorum/kvorum/kv"
)

// BenchmarkFSM_Apply applies entries of 256 puts with values of 100 bytes. With history, the
// newest 100,000 revisions are kept.
func BenchmarkFSM_Apply(b *testing.B) {
	for _, n := range []int{10_000, 1_000_000} {
		b.Run(fmt.Sprintf("keys=%d", n), func(b *testing.B) { benchmarkApply(b, n, false) })
		b.Run(fmt.Sprintf("keys=%d/history", n), func(b *testing.B) { benchmarkApply(b, n, true) })
	}
}

func benchmarkApply(b *testing.B, n int, history bool) {
	const perEntry, kept, compactEvery = 256, 100_000, 100
	f := filled(n)
	index := f.AppliedIndex() + 1
	apply := func(l *raft.Log) {
		l.Index = index
		f.Apply(l)
		index++
	}
	if history {
		apply(entry(0, 1, 0, fsm.HistoryRequest()))
	}
	next := puts(f, n, perEntry)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if apply(next()); history && i%compactEvery == 0 && f.Revision() > kept {
			apply(entry(0, 1, 0, fsm.CompactRequest(f.Revision()-kept)))
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/perEntry, "ns/command")
}

// BenchmarkFSM_Transaction applies entries of one request of ten puts, and of ten requests of
// one put.
func BenchmarkFSM_Transaction(b *testing.B) {
	var together kv.Request
	var each []wire.Requests
	for i := range 10 {
		key := benchKey(i)
		together.Then = append(together.Then, kv.Op{Kind: kv.OpPut, Key: key, Value: make([]byte, 100)})
		each = append(each, putCmd(key, string(make([]byte, 100))))
	}
	for name, requests := range map[string][]wire.Requests{"together": {encode(together)}, "each": each} {
		b.Run(name, func(b *testing.B) {
			f, l := filled(10_000), entry(0, 1, 0, requests...)
			l.Index = f.AppliedIndex()
			b.ReportAllocs()
			for b.Loop() {
				l.Index++
				f.Apply(l)
			}
		})
	}
}

// BenchmarkFSM_GetAt reads keys while nobody writes, and while entries of 256 puts are
// applied one after the other.
func BenchmarkFSM_GetAt(b *testing.B) {
	const n = 10_000
	for _, applying := range []bool{false, true} {
		b.Run(fmt.Sprintf("applying=%v", applying), func(b *testing.B) {
			f := filled(n)
			next := puts(f, n, 256)
			done := make(chan struct{})
			var writer sync.WaitGroup
			if applying {
				writer.Go(func() {
					for {
						select {
						case <-done:
							return
						default:
							f.Apply(next())
						}
					}
				})
			}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				if _, _, ok := f.GetAt(benchKeys[i%n]); !ok {
					b.Fatal("key is missing")
				}
				i++
			}
			close(done)
			writer.Wait()
		})
	}
}

var benchKeys = func() (keys [10_000]string) {
	for i := range keys {
		keys[i] = benchKey(i)
	}
	return keys
}()

// puts returns a function that makes the next entry of puts for f, which has n keys.
func puts(f *fsm.FSM, n, perEntry int) func() *raft.Log {
	value := string(make([]byte, 100))
	var logs []*raft.Log
	for i := range 64 {
		commands := make([]wire.Requests, perEntry)
		for j := range commands {
			commands[j] = putCmd(benchKey((i*perEntry+j)*7919%n), value)
		}
		logs = append(logs, entry(0, 1, 0, commands...))
	}
	index := f.AppliedIndex()
	return func() *raft.Log {
		index++
		l := logs[index%uint64(len(logs))]
		l.Index = index
		return l
	}
}

// BenchmarkFSM_Snapshot takes, writes and restores a snapshot of a million keys.
func BenchmarkFSM_Snapshot(b *testing.B) {
	f := filled(1_000_000)
	var snapshot memSink
	persist := func() {
		s, err := f.Snapshot()
		if err != nil {
			b.Fatal(err)
		}
		snapshot.Reset()
		if err := s.Persist(&snapshot); err != nil {
			b.Fatal(err)
		}
		s.Release()
	}
	b.Run("mark", func(b *testing.B) {
		for b.Loop() {
			if _, err := f.Snapshot(); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("persist", func(b *testing.B) {
		for b.Loop() {
			persist()
		}
	})
	b.Run("restore", func(b *testing.B) {
		persist()
		into := fsm.New(fsm.Config{})
		for b.Loop() {
			if err := into.Restore(io.NopCloser(bytes.NewReader(snapshot.Bytes()))); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkFSM_SnapshotHistory writes a snapshot of 6,400 keys with 133 versions each.
func BenchmarkFSM_SnapshotHistory(b *testing.B) {
	const versions = 850_000
	f := fsm.New(fsm.Config{})
	f.Apply(entry(1, 1, 0, fsm.HistoryRequest()))
	next := puts(f, len(benchKeys), 100)
	for range versions / 100 {
		f.Apply(next())
	}
	var snapshot memSink
	b.ReportAllocs()
	for b.Loop() {
		s, err := f.Snapshot()
		if err != nil {
			b.Fatal(err)
		}
		snapshot.Reset()
		if err := s.Persist(&snapshot); err != nil {
			b.Fatal(err)
		}
		s.Release()
	}
	b.ReportMetric(b.Elapsed().Seconds()*1e9/float64(b.N)/versions, "ns/version")
}

func benchKey(i int) string { return fmt.Sprintf("key-%012d", i) }

// filled returns an FSM with n keys of 16 bytes and values of 100.
func filled(n int) *fsm.FSM {
	f := fsm.New(fsm.Config{})
	value := string(make([]byte, 100))
	for i := 0; i < n; {
		var commands []wire.Requests
		for ; i < n && len(commands) < 1000; i++ {
			commands = append(commands, putCmd(benchKey(i), value))
		}
		f.Apply(entry(f.AppliedIndex()+1, 1, 0, commands...))
	}
	return f
}

// BenchmarkFSM_Idempotent applies entries of 256 puts, without and with idempotency keys of 36
// bytes. The answers to the newest 100,000 requests with a key are kept, and those before are
// dropped.
func BenchmarkFSM_Idempotent(b *testing.B) {
	const perEntry, kept, n = 256, 100_000, 100_000
	value := make([]byte, 100)
	for _, keyed := range []bool{false, true} {
		b.Run(fmt.Sprintf("keys=%t", keyed), func(b *testing.B) {
			f := filled(n)
			index, clock := f.AppliedIndex()+1, int64(0)
			next := func() *raft.Log {
				requests := make([]wire.Requests, perEntry)
				for i := range requests {
					r := kv.Put(benchKey(int(clock)*7919%n), value)
					if clock++; keyed {
						r.IdempotencyKey = fmt.Sprintf("0c9e5a38-7d1f-4b56-9a43-%012d", clock)
					}
					requests[i] = encode(r)
				}
				return entry(0, 1, clock, requests...)
			}
			apply := func(l *raft.Log) {
				l.Index = index
				f.Apply(l)
				index++
			}
			apply(entry(0, 1, 0, fsm.SettingsRequest(kv.Settings{Idempotency: kv.Idempotency{Window: kept}})))
			for clock < 2*kept {
				apply(next())
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if i%100 == 0 && f.Revision() > kept {
					b.StopTimer()
					apply(entry(0, 1, 0, fsm.CompactRequest(f.Revision()-1)))
					b.StartTimer()
				}
				b.StopTimer()
				l := next()
				b.StartTimer()
				apply(l)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/perEntry, "ns/command")
		})
	}
}
