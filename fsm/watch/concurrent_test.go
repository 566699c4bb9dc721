package watch_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/kvorum/kvorum/kv"
)

// TestConcurrent_WatchersHaveTheState lets watchers follow a store that is changed,
// compacted and replaced meanwhile. Each begins with a snapshot, again after it was
// overtaken. In the end each must have the store's state. Each previous item must be what
// the watcher had.
func TestConcurrent_WatchersHaveTheState(t *testing.T) {
	const entries = 3000
	m := newMachine()
	defer m.close()
	var last sync.WaitGroup // watchers that may not have all yet
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	spans := []kv.Span{kv.All(), kv.Prefix("k1"), kv.One("k7"), {Start: "k3", End: "k6"}, kv.Prefix("k1"), kv.From("k5"), kv.One("k7")}
	followers := make([]*follower, len(spans))
	var running sync.WaitGroup
	for i, span := range spans {
		last.Add(1)
		f := &follower{t: t, m: m, span: span, done: last.Done, have: map[string]string{}}
		followers[i] = f
		if err := f.begin(); err != nil {
			t.Fatal(err)
		}
		running.Go(func() { f.run(ctx) })
	}
	for e := range entries {
		m.apply(randomRequests()...)
		if e%100 == 50 {
			m.compact(m.store.Revision() - rand.Uint64N(20))
		}
		if e%500 == 250 {
			m.replace(t, func(m *machine) { m.apply(randomRequests()...) })
		}
	}
	m.apply(request{{endKey("k1"), "end"}, {endKey("k3"), "end"}, {endKey("k5"), "end"}, {"k7", "end"}})
	last.Wait()
	cancel()
	running.Wait()
	view, err := m.store.View(0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = view.Close() }()
	for _, f := range followers {
		want := make(map[string]string)
		for it := range view.Ascend(f.span) {
			want[it.Key] = string(it.Value)
		}
		if !maps.Equal(f.have, want) {
			t.Errorf("%v: have %v, want %v", f.span, f.have, want)
		}
	}
}

// endKey is a key with a prefix that is set at the end.
func endKey(prefix string) string { return prefix + "end" }

func randomRequests() []request {
	requests := make([]request, 1+rand.IntN(3))
	for i := range requests {
		for range rand.IntN(4) {
			value := fmt.Sprint(rand.Uint32())
			if rand.IntN(3) == 0 {
				value = ""
			}
			requests[i] = append(requests[i], op{fmt.Sprintf("k%d", rand.IntN(20)), value})
		}
	}
	return requests
}

// follower keeps a copy of the state of a span by a watch.
type follower struct {
	t    *testing.T
	m    *machine
	span kv.Span
	done func() // called once when the last change has been seen
	once sync.Once

	w        kv.Watch
	have     map[string]string
	revision uint64 // of the last changes
	starts   int
}

// begin begins the watch, again after it was overtaken, or the state replaced.
func (f *follower) begin() (err error) {
	f.starts++
	f.w, err = f.m.hub.Watch(kv.WatchOptions{Span: f.span, Snapshot: true, PrevItems: true})
	return err
}

func (f *follower) run(ctx context.Context) {
	defer func() { _ = f.w.Close() }()
	for {
		b, err := f.w.Next(ctx)
		switch {
		case errors.Is(err, kv.ErrCompacted) || errors.Is(err, kv.ErrBehind):
			_ = f.w.Close()
			clear(f.have)
			for err = f.begin(); errors.Is(err, kv.ErrBehind); {
				err = f.begin()
			}
			if err != nil {
				f.t.Error(err)
				return
			}
			continue
		case ctx.Err() != nil:
			return
		case err != nil:
			f.t.Errorf("%v: %v", f.span, err)
			return
		}
		f.take(b)
	}
}

func (f *follower) take(b kv.WatchBatch) {
	for _, it := range b.Items {
		f.have[it.Key] = string(it.Value)
	}
	if b.Kind == kv.WatchChanges && b.Revision <= f.revision {
		f.t.Errorf("%v: revision %d after %d", f.span, b.Revision, f.revision)
	}
	f.revision = max(b.Revision, f.revision)
	before := make(map[string]string) // of keys that the batch has changed
	for _, e := range b.Events {
		had, changed := before[e.Item.Key]
		if !changed {
			had = f.have[e.Item.Key]
			before[e.Item.Key] = had
		}
		if prev := e.Prev; prev == nil && had != "" || prev != nil && string(prev.Value) != had {
			f.t.Errorf("%v: %v of %q at %d: had %q, previous %v", f.span, e.Kind, e.Item.Key, b.Revision, had, prev)
		}
		if f.have[e.Item.Key] = string(e.Item.Value); e.Kind == kv.EventDelete {
			delete(f.have, e.Item.Key)
		}
	}
	for _, value := range f.have {
		if value == "end" {
			f.once.Do(f.done)
		}
	}
}
