package fsm_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/fsm"
	"github.com/kvorum/kvorum/kv"
)

func TestWatch_NeedsHistory(t *testing.T) {
	f := newFSM(t)
	mustApply(t, f, 1, 0, putCmd("k", "v"))
	if _, err := f.Watch(kv.WatchOptions{}); !errors.Is(err, kv.ErrUnsupported) {
		t.Errorf("got %v", err)
	}
	mustApply(t, f, 2, 0, fsm.HistoryRequest())
	w, err := f.Watch(kv.WatchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	if _, err := f.Watch(kv.WatchOptions{From: 1}); !errors.Is(err, kv.ErrCompacted) {
		t.Errorf("from a revision before the history: %v", err)
	}
}

// TestWatch_AcrossRestore shows that watches continue on a restored state, wait while there
// is none, and end with Close.
func TestWatch_AcrossRestore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		leader, f := fsm.New(fsm.Config{}), fsm.New(fsm.Config{})
		defer func() { _ = leader.Close() }()
		for _, m := range []*fsm.FSM{leader, f} {
			mustApply(t, m, 1, 0, fsm.HistoryRequest(), putCmd("a", "2"))
		}
		w, err := f.Watch(kv.WatchOptions{Span: kv.Prefix("a"), PrevItems: true})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = w.Close() }()
		got := make(chan string, 10)
		var running sync.WaitGroup
		running.Go(func() {
			for {
				b, err := w.Next(context.Background())
				if err != nil {
					got <- fmt.Sprint(err)
					return
				}
				for _, e := range b.Events {
					got <- fmt.Sprintf("%d %v %s was %s", b.Revision, e.Kind, e.Item.Key, e.Prev.Value)
				}
			}
		})
		want := func(want string) {
			t.Helper()
			synctest.Wait()
			select {
			case text := <-got:
				if text != want {
					t.Errorf("got %q, want %q", text, want)
				}
			default:
				if want != "" {
					t.Errorf("got nothing, want %q", want)
				}
			}
		}
		mustApply(t, leader, 2, 0, putCmd("b", "3"), putCmd("a", "4"), delCmd("a"))
		snapshot := snapshotOf(t, leader)
		mustApply(t, f, 2, 0, putCmd("b", "3"))
		want("")
		f.LetGo()
		want("")
		if _, err := f.Watch(kv.WatchOptions{}); err == nil {
			t.Error("a watch began without a state")
		}
		mustRestore(t, f, snapshot)
		want("4 put a was 2")
		want("5 delete a was 4")
		_ = f.Close()
		want(kv.ErrClosed.Error())
		running.Wait()
	})
}

// BenchmarkFSM_ApplyWatched applies entries of one put, whose key no one or one of 10,000
// watchers watches.
func BenchmarkFSM_ApplyWatched(b *testing.B) {
	const watchers = 10_000
	for _, bb := range []struct {
		watchers int
		key      string // format
	}{{0, "watched/%05d/key"}, {watchers, "another/%05d/key"}, {watchers, "watched/%05d/key"}} {
		b.Run(fmt.Sprintf("watchers=%d/%.7s", bb.watchers, bb.key), func(b *testing.B) {
			f := fsm.New(fsm.Config{})
			f.Apply(entry(1, 1, 0, fsm.HistoryRequest()))
			var running sync.WaitGroup
			for i := range bb.watchers {
				w, err := f.Watch(kv.WatchOptions{Span: kv.Prefix(fmt.Sprintf("watched/%05d/", i))})
				if err != nil {
					b.Fatal(err)
				}
				running.Go(func() {
					for {
						if _, err := w.Next(context.Background()); err != nil {
							return
						}
					}
				})
			}
			logs := make([]*raft.Log, watchers)
			for i := range logs {
				logs[i] = entry(0, 1, 0, putCmd(fmt.Sprintf(bb.key, i), string(make([]byte, 100))))
			}
			index := uint64(2)
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				l := logs[index*7919%watchers]
				l.Index = index
				f.Apply(l)
				if index++; index%50_000 == 0 {
					l := entry(index, 1, 0, fsm.CompactRequest(f.Revision()-10_000))
					f.Apply(l)
					index++
				}
			}
			b.StopTimer()
			_ = f.Close()
			running.Wait()
		})
	}
}
