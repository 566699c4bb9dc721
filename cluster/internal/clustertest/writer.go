package clustertest

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kvorum/kvorum/kv"
)

// maxGap is the maximum time without a write that is done.
const maxGap = 5 * time.Second

// Writer writes through nodes in turn until it is stopped.
type Writer struct {
	t      testing.TB
	nodes  []*Node
	taken  []atomic.Int64 // for each node, the number of its writes that are done
	cancel context.CancelFunc
	done   chan error // receives nil, or that nothing was written for too long
}

// WriteOn starts to write through nodes in turn. Stop must be called.
func WriteOn(t testing.TB, nodes []*Node) *Writer {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	w := &Writer{t: t, nodes: nodes, taken: make([]atomic.Int64, len(nodes)), cancel: cancel, done: make(chan error, 1)}
	go func() { w.done <- w.write(ctx) }()
	return w
}

func (w *Writer) write(ctx context.Context) error {
	last := time.Now()
	for i := 0; ctx.Err() == nil; i++ {
		at := i % len(w.nodes)
		_, err := w.nodes[at].Do(ctx, kv.Put("k", fmt.Append(nil, i)))
		if err == nil {
			w.taken[at].Add(1)
			last = time.Now()
		}
		if gap := time.Since(last); gap > maxGap {
			return fmt.Errorf("no write was done for %v: %w", gap, err)
		}
	}
	return nil
}

// Await waits until each node has done so many more writes.
func (w *Writer) Await(writes int64) {
	w.t.Helper()
	for i, n := range w.nodes {
		want := w.taken[i].Load() + writes
		Eventually(w.t, fmt.Sprintf("%s does %d more writes", n.Config.Name, writes), func() error {
			if got := w.taken[i].Load(); got < want {
				return fmt.Errorf("%d are left", want-got)
			}
			return nil
		})
	}
}

// Stop ends the writes. It fails the test if no write was done for 5 s.
func (w *Writer) Stop() {
	w.t.Helper()
	w.cancel()
	if err := <-w.done; err != nil {
		w.t.Error(err)
	}
}
