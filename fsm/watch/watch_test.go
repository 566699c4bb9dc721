package watch_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kvorum/kvorum/kv"
)

// bubble runs a test with a machine in a bubble.
func bubble(t *testing.T, test func(t *testing.T, m *machine)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		m := newMachine()
		defer m.close()
		test(t, m)
	})
}

// text shows a batch in one line.
func text(b kv.WatchBatch) string {
	s := fmt.Sprint([...]string{"changes", "state", "synced", "progress", "waiting"}[b.Kind], " ", b.Revision)
	if b.Partial {
		s += " partial"
	}
	for _, it := range b.Items {
		s += fmt.Sprintf(" %s=%s", it.Key, it.Value)
	}
	for _, e := range b.Events {
		s += fmt.Sprintf(" %v %s=%s", e.Kind, e.Item.Key, e.Item.Value)
		if e.Prev != nil {
			s += fmt.Sprintf(" was %s", e.Prev.Value)
		}
	}
	return s
}

func wantNext(t *testing.T, w kv.Watch, want ...string) {
	t.Helper()
	for _, text0 := range want {
		if got := text(mustNext(t, w)); got != text0 {
			t.Fatalf("got %q, want %q", got, text0)
		}
	}
}

func TestWatch_ChangesOfARevisionAreTogether(t *testing.T) {
	bubble(t, func(t *testing.T, m *machine) {
		m.apply(request{{"a", "0"}})
		w := m.mustWatch(t, kv.WatchOptions{Span: kv.Prefix("a"), PrevItems: true})
		mustWait(t, w)
		m.apply(request{{"a", "1"}, {"b", "1"}, {"a2", "1"}}, request{{"b", "2"}}, request{{"a", ""}})
		wantNext(t, w, "changes 3 put a=1 was 0 put a2=1", "changes 5 delete a= was 1")
		mustWait(t, w)
		if w.Revision() != 5 {
			t.Errorf("revision is %d", w.Revision())
		}
		m.apply(request{{"b", "3"}})
		mustWait(t, w)
		if w.Revision() != 6 {
			t.Errorf("revision after a change of another key is %d", w.Revision())
		}
	})
}

func TestWatch_Snapshot(t *testing.T) {
	bubble(t, func(t *testing.T, m *machine) {
		m.apply(request{{"a", "1"}, {"b", "1"}, {"c", "1"}})
		w := m.mustWatch(t, kv.WatchOptions{Span: kv.Span{Start: "b"}, Snapshot: true})
		m.apply(request{{"b", "2"}})
		if w.Revision() != 0 {
			t.Errorf("revision before the state is %d", w.Revision())
		}
		wantNext(t, w, "state 2 b=1 c=1", "synced 2", "changes 3 put b=2")
		mustWait(t, w)
	})
}

func TestWatch_SnapshotInParts(t *testing.T) {
	bubble(t, func(t *testing.T, m *machine) {
		const keys = 1000
		for i := range keys {
			m.apply(request{{fmt.Sprintf("k%04d", i), "v"}})
		}
		w := m.mustWatch(t, kv.WatchOptions{Snapshot: true})
		for got := 0; got < keys; {
			b := mustNext(t, w)
			if b.Kind != kv.WatchState || len(b.Items) == 0 || b.Items[0].Key != fmt.Sprintf("k%04d", got) {
				t.Fatalf("after %d keys: %v", got, text(b))
			}
			got += len(b.Items)
			m.apply(request{{fmt.Sprintf("k%04d", got), "later"}})
		}
		if got := mustNext(t, w); got.Kind != kv.WatchSynced {
			t.Fatalf("got %v", text(got))
		}
		_ = w.Close()
		if got := m.store.Stats().Views; got != 0 {
			t.Errorf("%d views are open", got)
		}
	})
}

func TestWatch_FromThePastAndTheFuture(t *testing.T) {
	bubble(t, func(t *testing.T, m *machine) {
		m.apply(request{{"a", "2"}}, request{{"a", "3"}}, request{{"b", "4"}})
		past := m.mustWatch(t, kv.WatchOptions{Span: kv.One("a"), From: 3})
		future := m.mustWatch(t, kv.WatchOptions{Span: kv.One("a"), From: 6, Progress: time.Minute})
		wantNext(t, past, "changes 3 put a=3")
		mustWait(t, future)
		m.apply(request{{"a", "5"}})
		wantNext(t, past, "changes 5 put a=5")
		mustWait(t, future)
		m.apply(request{{"a", "6"}})
		wantNext(t, future, "changes 6 put a=6")
		if err := errors.Join(past.Close(), future.Close()); err != nil || m.hub.Len() != 0 {
			t.Errorf("close: %v, %d watchers", err, m.hub.Len())
		}
	})
}

func TestWatch_ProgressIsNotAhead(t *testing.T) {
	bubble(t, func(t *testing.T, m *machine) {
		began := time.Now()
		w := m.mustWatch(t, kv.WatchOptions{Span: kv.One("a"), Progress: 10 * time.Second, Kinds: kv.Kinds(kv.EventPut)})
		future := m.mustWatch(t, kv.WatchOptions{Span: kv.One("a"), From: 6, Progress: 100 * time.Millisecond})
		mustWait(t, w)
		m.apply(request{{"b", "2"}})
		wantNext(t, w, "progress 2")
		if got := time.Since(began); got < 10*time.Second {
			t.Errorf("progress after %v", got)
		}
		m.apply(request{{"a", "3"}}, request{{"b", "4"}})
		wantNext(t, w, "changes 3 put a=3", "progress 4")
		wantNext(t, future, "waiting 4", "waiting 4")
		m.apply(request{{"a", ""}})
		wantNext(t, w, "progress 5")
		wantNext(t, future, "progress 5")
		m.apply(request{{"a", "6"}})
		wantNext(t, future, "changes 6 put a=6")
	})
}

// TestWatch_EndedContext shows that a Next whose context has ended returns what there is.
func TestWatch_EndedContext(t *testing.T) {
	bubble(t, func(t *testing.T, m *machine) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		m.apply(request{{"a", "1"}})
		w := m.mustWatch(t, kv.WatchOptions{Snapshot: true})
		m.apply(request{{"a", "2"}})
		for _, want := range []string{"state 2 a=1", "synced 2", "changes 3 put a=2"} {
			if b, err := w.Next(ctx); err != nil || text(b) != want {
				t.Errorf("got %v and %v, want %q", text(b), err, want)
			}
		}
		if b, err := w.Next(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v and %v", text(b), err)
		}
	})
}

func TestWatch_KindsOfEvents(t *testing.T) {
	bubble(t, func(t *testing.T, m *machine) {
		w := m.mustWatch(t, kv.WatchOptions{Kinds: kv.Kinds(kv.EventDelete)})
		m.apply(request{{"a", "1"}}, request{{"a", ""}, {"b", "1"}}, request{{"b", ""}})
		wantNext(t, w, "changes 3 delete a=", "changes 4 delete b=")
	})
}

func TestWatch_OvertakenByACompaction(t *testing.T) {
	bubble(t, func(t *testing.T, m *machine) {
		idle := m.mustWatch(t, kv.WatchOptions{Span: kv.One("idle"), PrevItems: true})
		slow := m.mustWatch(t, kv.WatchOptions{Span: kv.One("a"), PrevItems: true})
		exact := m.mustWatch(t, kv.WatchOptions{Span: kv.One("a"), From: 4, PrevItems: true})
		m.apply(request{{"a", "2"}}, request{{"a", "3"}}, request{{"a", "4"}})
		m.compact(4)
		var compacted *kv.CompactedError
		for range 2 {
			if _, err := slow.Next(t.Context()); !errors.As(err, &compacted) || compacted.CompactRevision != 4 {
				t.Errorf("slow watcher: %v", err)
			}
		}
		if _, err := m.hub.Watch(kv.WatchOptions{From: 3}); !errors.As(err, &compacted) {
			t.Errorf("watch from a compacted revision: %v", err)
		}
		wantNext(t, exact, "changes 4 put a=4 was 3")
		m.apply(request{{"idle", "5"}})
		wantNext(t, idle, "changes 5 put idle=5")
	})
}

// TestWatch_IdleBesideACompaction checks that a watcher that waits for long is not told of a
// compaction of which it missed nothing, also if more changes come at once than have notes.
func TestWatch_IdleBesideACompaction(t *testing.T) {
	bubble(t, func(t *testing.T, m *machine) {
		w := m.mustWatch(t, kv.WatchOptions{Span: kv.Prefix("jobs/")})
		next := make(chan kv.WatchBatch, 1)
		go func() { next <- mustNext(t, w) }()
		synctest.Wait()
		for range 100 {
			m.apply(request{{"other", "v"}})
		}
		m.compact(m.store.Revision())
		var many []request
		for i := range 20 {
			many = append(many, request{{fmt.Sprintf("jobs/%d", i), "v"}})
		}
		m.apply(many...)
		if got := text(<-next); got != "changes 102 put jobs/0=v" {
			t.Errorf("got %q, want the first change", got)
		}
	})
}

func TestHub_Replace(t *testing.T) {
	bubble(t, func(t *testing.T, m *machine) {
		waiting := m.mustWatch(t, kv.WatchOptions{Span: kv.Prefix("a")})
		quiet := m.mustWatch(t, kv.WatchOptions{Span: kv.One("z"), PrevItems: true})
		unread := m.mustWatch(t, kv.WatchOptions{Span: kv.One("b")})
		m.apply(request{{"b", "2"}}, request{{"c", "3"}})
		got := make(chan kv.WatchBatch, 1)
		go func() {
			b, _ := waiting.Next(t.Context())
			got <- b
		}()
		synctest.Wait()
		m.replace(t, func(m *machine) {
			m.apply(request{{"z", "4"}}, request{{"a", "5"}}, request{{"d", "6"}})
			m.compact(4)
		})
		if b := <-got; text(b) != "changes 5 put a=5" {
			t.Errorf("waiting watcher: %v", text(b))
		}
		wantNext(t, quiet, "changes 4 put z=4")
		if b, err := unread.Next(t.Context()); !errors.Is(err, kv.ErrCompacted) {
			t.Errorf("overtaken watcher: %v and %v", text(b), err)
		}
		m.apply(request{{"a", "7"}})
		wantNext(t, waiting, "changes 7 put a=7")
	})
}

func TestHub_ReplaceByAnOlderState(t *testing.T) {
	bubble(t, func(t *testing.T, m *machine) {
		m.apply(request{{"a", "2"}})
		older := copyOf(t, m.store)
		w := m.mustWatch(t, kv.WatchOptions{From: 2})
		m.apply(request{{"a", "3"}}, request{{"a", "4"}})
		wantNext(t, w, "changes 2 put a=2", "changes 3 put a=3")
		m.hub.Suspend()
		mustWait(t, w)
		if _, err := m.hub.Watch(kv.WatchOptions{}); !errors.Is(err, kv.ErrBehind) {
			t.Errorf("watch while the store is replaced: %v", err)
		}
		_ = m.store.Close()
		m.store = older
		m.hub.Replace(older)
		mustWait(t, w)
		m.apply(request{{"a", "3"}})
		mustWait(t, w)
		m.apply(request{{"a", "4"}})
		wantNext(t, w, "changes 4 put a=4")
	})
}

func TestHub_CloseEndsWatches(t *testing.T) {
	bubble(t, func(t *testing.T, m *machine) {
		const watchers = 100
		errs := make(chan error, watchers)
		for i := range watchers {
			w := m.mustWatch(t, kv.WatchOptions{Span: kv.Prefix(fmt.Sprint(i / 50)), Snapshot: i%2 == 0})
			go func() {
				var err error
				for err == nil {
					_, err = w.Next(t.Context())
				}
				errs <- err
			}()
		}
		synctest.Wait()
		_ = m.hub.Close()
		for range watchers {
			if err := <-errs; !errors.Is(err, kv.ErrClosed) {
				t.Errorf("got %v", err)
			}
		}
		if _, err := m.hub.Watch(kv.WatchOptions{}); !errors.Is(err, kv.ErrClosed) {
			t.Errorf("watch after Close: %v", err)
		}
	})
}

// TestWatch_ContextEndsBesideAChange ends contexts at the moment of a change, again and again.
// Watches continue after that, and have every change.
func TestWatch_ContextEndsBesideAChange(t *testing.T) {
	bubble(t, func(t *testing.T, m *machine) {
		const watchers, rounds = 16, 300
		next := make([]uint64, watchers) // revision that the watch returns next
		ws := make([]kv.Watch, watchers)
		for i := range ws {
			ws[i], next[i] = m.mustWatch(t, kv.WatchOptions{}), 2
		}
		read := func(ctx context.Context, i int) error {
			b, err := ws[i].Next(ctx)
			if err == nil {
				if b.Revision != next[i] {
					t.Errorf("got revision %d, want %d", b.Revision, next[i])
				}
				next[i] = b.Revision + 1
			}
			return err
		}
		for round := range rounds {
			ctx, cancel := context.WithCancel(t.Context())
			var running sync.WaitGroup
			for i := range ws {
				running.Go(func() {
					for read(ctx, i) == nil {
					}
				})
			}
			if round%2 == 0 {
				synctest.Wait()
			}
			go cancel()
			m.apply(request{{"a", fmt.Sprint(round)}})
			running.Wait()
		}
		for i, w := range ws {
			for next[i] < rounds+2 {
				if err := read(t.Context(), i); err != nil {
					t.Fatal(err)
				}
			}
			mustWait(t, w)
		}
	})
}

// TestWatch_CloseBesideNext closes a watch, or its hub, after Next has seen that they are
// open, and before it waits. A Next that does not return is a deadlock of the bubble.
func TestWatch_CloseBesideNext(t *testing.T) {
	for _, hub := range []bool{false, true} {
		bubble(t, func(t *testing.T, m *machine) {
			w := m.mustWatch(t, kv.WatchOptions{})
			ctx := checkedContext{t.Context(), func() {
				if hub {
					_ = m.hub.Close()
				} else {
					_ = w.Close()
				}
			}}
			if b, err := w.Next(ctx); err == nil {
				t.Errorf("got %v", text(b))
			}
		})
	}
}

// checkedContext calls a function when it is asked whether it has ended.
type checkedContext struct {
	context.Context
	asked func()
}

func (c checkedContext) Err() error {
	c.asked()
	return c.Context.Err()
}

// TestHub_WatchBeginsWithinAnEntry begins the first watch when an entry has begun.
func TestHub_WatchBeginsWithinAnEntry(t *testing.T) {
	bubble(t, func(t *testing.T, m *machine) {
		entry := m.hub.Begin()
		got := make(chan kv.WatchBatch, 1)
		w := m.mustWatch(t, kv.WatchOptions{})
		go func() { got <- mustNext(t, w) }()
		synctest.Wait()
		tx := m.store.Begin()
		tx.NextRequest()
		tx.Put(kv.Item{Key: "a"})
		entry.Changed("a", tx.Revision())
		tx.Commit(nil)
		entry.Published(m.store.Revision())
		if b := <-got; text(b) != "changes 2 put a=" {
			t.Errorf("got %v", text(b))
		}
	})
}

func TestWatch_BadOptions(t *testing.T) {
	bubble(t, func(t *testing.T, m *machine) {
		for _, o := range []kv.WatchOptions{
			{Span: kv.Span{Start: "b", End: "a"}}, {From: 1, Snapshot: true}, {Progress: 1}, {Progress: -time.Second},
		} {
			if _, err := m.hub.Watch(o); kv.Classify(err) == nil || kv.Classify(err).Code != kv.CodeInvalid {
				t.Errorf("%+v: %v", o, err)
			}
		}
	})
}
