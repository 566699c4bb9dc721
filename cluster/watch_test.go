package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/kvorum/kvorum/cluster/internal/clustertest"
	"github.com/kvorum/kvorum/fsm"
	"github.com/kvorum/kvorum/kv"
)

// mustWatch returns a watch, which is closed at the end of the test.
func mustWatch(t *testing.T, n kv.Engine, options kv.WatchOptions) kv.Watch {
	t.Helper()
	w, err := n.Watch(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.Close() })
	return w
}

// nextBatch describes the next batch of a watch.
func nextBatch(t *testing.T, w kv.Watch) string {
	t.Helper()
	b, err := w.Next(t.Context())
	if err != nil {
		return err.Error()
	}
	text := fmt.Sprint(b.Revision)
	for _, it := range b.Items {
		text += fmt.Sprintf(" %s=%s", it.Key, it.Value)
	}
	for _, e := range b.Events {
		text += fmt.Sprintf(" %v %s=%s", e.Kind, e.Item.Key, e.Item.Value)
	}
	return text
}

// TestWatch_OnEachNode shows that a watch on any node begins after all writes that were
// acknowledged before, and continues on any other node.
func TestWatch_OnEachNode(t *testing.T) {
	nodes := clustertest.Open(t, 3, nil)
	for i := range nodes {
		writer, watcher, other := nodes[i], nodes[(i+1)%3], nodes[(i+2)%3]
		put := func(value string) uint64 {
			done, err := writer.Do(t.Context(), kv.Put("k", []byte(value)))
			if err != nil {
				t.Fatal(err)
			}
			return done.Revision
		}
		before := put("before")
		w := mustWatch(t, watcher, kv.WatchOptions{Span: kv.One("k")})
		snapshot := mustWatch(t, other, kv.WatchOptions{Span: kv.One("k"), Snapshot: true})
		after := put("after")
		if got, want := nextBatch(t, w), fmt.Sprint(after, " put k=after"); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		for _, want := range []string{fmt.Sprint(before, " k=before"), fmt.Sprint(before), fmt.Sprint(after, " put k=after")} {
			if got := nextBatch(t, snapshot); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		}
		from := mustWatch(t, other, kv.WatchOptions{Span: kv.One("k"), From: before})
		if got, want := nextBatch(t, from), fmt.Sprint(before, " put k=before"); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		future := mustWatch(t, watcher, kv.WatchOptions{From: w.Revision() + 2})
		put("passed over")
		wanted := put("future")
		if got, want := nextBatch(t, future), fmt.Sprint(wanted, " put k=future"); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// TestWatch_Ends shows how watches end: with a compaction, with their node, and not with the
// context with which they began.
func TestWatch_Ends(t *testing.T) {
	n := clustertest.Open(t, 1, nil)[0]
	ctx, cancel := context.WithCancel(t.Context())
	w, err := n.Watch(ctx, kv.WatchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	for range 3 {
		if _, err := n.Do(t.Context(), kv.Put("k", nil)); err != nil {
			t.Fatal(err)
		}
	}
	nextBatch(t, w)
	if err := n.Raft().Apply(clustertest.Entry(fsm.CompactRequest(4)), 0).Error(); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Next(t.Context()); !errors.Is(err, kv.ErrCompacted) {
		t.Errorf("overtaken: got %v", err)
	}
	if _, err := n.Watch(t.Context(), kv.WatchOptions{From: 3}); !errors.Is(err, kv.ErrCompacted) {
		t.Errorf("from a compacted revision: got %v", err)
	}
	w = mustWatch(t, n, kv.WatchOptions{})
	ended := make(chan error, 1)
	go func() {
		_, err := w.Next(context.Background())
		ended <- err
	}()
	if err := n.Close(); err != nil {
		t.Error(err)
	}
	if err := <-ended; !errors.Is(err, kv.ErrClosed) {
		t.Errorf("the node stopped: got %v", err)
	}
	if _, err := n.Watch(t.Context(), kv.WatchOptions{}); !errors.Is(err, kv.ErrClosed) {
		t.Errorf("after Close: got %v", err)
	}
}

// TestWatch_WithoutHistory shows that a watch is refused while a member keeps no history.
func TestWatch_WithoutHistory(t *testing.T) {
	n := clustertest.Open(t, 1, withoutHistory)[0]
	if _, err := n.Watch(t.Context(), kv.WatchOptions{}); !errors.Is(err, kv.ErrUnsupported) {
		t.Errorf("got %v", err)
	}
}

// TestWatch_OnANodeThatHasJustStarted shows that a watch waits for a node that has not applied
// its log yet, and so knows of no history.
func TestWatch_OnANodeThatHasJustStarted(t *testing.T) {
	nodes := clustertest.Open(t, 3, nil)
	done, err := nodes[0].Do(t.Context(), kv.Put("k", []byte("v")))
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range nodes {
		if err := n.Close(); err != nil {
			t.Fatal(err)
		}
	}
	n := clustertest.Reopen(t, nodes[0]) // alone, it learns nothing of what is committed
	type begun struct {
		watch kv.Watch
		err   error
	}
	begins := make(chan begun, 1)
	go func() {
		w, err := n.Watch(t.Context(), kv.WatchOptions{From: done.Revision})
		begins <- begun{w, err}
	}()
	clustertest.Reopen(t, nodes[1])
	b := <-begins
	if b.err != nil {
		t.Fatal(b.err)
	}
	defer b.watch.Close()
	if got, want := nextBatch(t, b.watch), fmt.Sprint(done.Revision, " put k=v"); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
