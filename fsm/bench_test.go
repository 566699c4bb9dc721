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
)

// BenchmarkFSM_Apply applies entries of 256 puts with values of 100 bytes.
func BenchmarkFSM_Apply(b *testing.B) {
	for _, n := range []int{10_000, 1_000_000} {
		b.Run(fmt.Sprintf("keys=%d", n), func(b *testing.B) {
			f := filled(n)
			const perEntry = 256
			next := puts(f, n, perEntry)
			b.ReportAllocs()
			for b.Loop() {
				f.Apply(next())
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/perEntry, "ns/command")
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
