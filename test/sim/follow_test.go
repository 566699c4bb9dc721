package sim

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/kvorum/kvorum/cluster"
	"github.com/kvorum/kvorum/kv"
	"github.com/kvorum/kvorum/test/chronicle"
)

const (
	// watchers is the number of watches at a time that continue on other nodes.
	watchers = 2
	// watchLook is the time after which a follower looks how far its watch is, if it
	// delivers nothing.
	watchLook = time.Second
	// openLimit is the maximum time in which a watch is opened.
	openLimit = 2 * time.Second
)

// follower keeps a watch going, on node after node, and records what it delivers.
type follower struct {
	w     *world
	name  string
	pick  func() (*cluster.Node, *proc) // the node on which the watch is opened next
	stay  func() time.Duration          // how long it stays there
	ends  func() bool                   // whether the watch ends after a stay
	renew func() *chronicle.Watch       // the watch after one that has ended

	mu     sync.Mutex
	record *chronicle.Watch // guarded by mu
}

// auditor follows all changes on one host. All else is compared with what auditors are told.
func (w *world) auditor(h *host) *follower {
	return &follower{
		w: w, name: h.name, pick: h.live,
		stay:  func() time.Duration { return math.MaxInt64 },
		ends:  func() bool { return false },
		renew: func() *chronicle.Watch { return w.chronicle.Auditor(h.name) },
	}
}

// watcher follows some changes, and often changes its node.
func (w *world) watcher(id int) *follower {
	c := newClient(w, 1000+id)
	return &follower{
		w: w, name: "a watcher", pick: c.pick,
		stay:  func() time.Duration { return time.Duration(c.rng.IntN(8000)) * time.Millisecond },
		ends:  func() bool { return c.rng.IntN(4) == 0 },
		renew: c.newWatch,
	}
}

// newWatch begins the record of a watch of some kind.
func (c *client) newWatch() *chronicle.Watch {
	newest := c.w.chronicle.Newest()
	options := kv.WatchOptions{Span: c.anySpan(), PrevItems: c.rng.IntN(2) == 0}
	switch c.rng.IntN(4) {
	case 0:
		options.From = newest + 1 - min(newest, uint64(c.rng.IntN(100)))
	case 1:
		options.From = c.oldest() // the edge of the history
	case 2:
		options.Snapshot = true
	}
	if c.rng.IntN(4) == 0 {
		options.Kinds = kv.Kinds(kv.EventKind(c.rng.IntN(2)))
	}
	if c.rng.IntN(2) == 0 {
		options.Progress = time.Duration(100+c.rng.IntN(2000)) * time.Millisecond
	}
	return c.w.chronicle.Watch(c.w.chronicle.Call(), "a watcher", options)
}

// oldest returns the oldest revision that can be read on some node, or its neighbour.
func (c *client) oldest() uint64 {
	node, _ := c.pick()
	if node == nil {
		return 1
	}
	return max(2, compactRevision(node, 2)+uint64(c.rng.IntN(3))) - 1
}

// followAll starts the auditors and watchers. stop ends them, and waits until they have
// ended.
func (w *world) followAll() (stop func()) {
	for _, h := range w.hosts {
		w.followers = append(w.followers, w.auditor(h))
	}
	for id := range watchers {
		w.followers = append(w.followers, w.watcher(id))
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	for _, f := range w.followers {
		running.Go(func() { f.run(ctx) })
	}
	return func() {
		cancel()
		running.Wait()
	}
}

func (f *follower) run(ctx context.Context) {
	f.next()
	for ctx.Err() == nil {
		if node, p := f.pick(); node != nil {
			f.record.Again(p.host.name)
			if f.on(ctx, node, p) {
				f.next()
			}
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
		case <-f.w.broken:
			return
		}
	}
}

// next begins the next watch.
func (f *follower) next() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.record = f.renew()
}

// position returns the revision up to which the watch has delivered everything.
func (f *follower) position() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.record.Position()
}

// on opens the watch on a node, or continues it there, until the node or the stay ends. over
// reports that the watch can't be continued, or need not be.
func (f *follower) on(ctx context.Context, node *cluster.Node, p *proc) (over bool) {
	here, cancel := context.WithCancel(p.ctx)
	defer cancel()
	defer context.AfterFunc(ctx, cancel)()
	opening, opened := context.WithTimeout(here, openLimit)
	watch, err := f.w.open(opening, node, f.record.Options())
	opened()
	if err == nil {
		defer func() { _ = watch.Close() }() // always nil
		if p.isDead() || !f.check(f.record.Opened(watch.Revision())) {
			return false
		}
		err = f.read(here, node, p, watch)
	}
	if p.isDead() {
		return false
	}
	var compacted *kv.CompactedError
	switch {
	case errors.As(err, &compacted):
		f.check(f.record.Lost(compacted, compactRevision(node, math.MaxUint64)))
		return true
	case err != nil && here.Err() == nil && kv.Classify(err) == nil && !errors.Is(err, context.DeadlineExceeded) && node.Err() == nil && p.opened() != nil:
		f.w.violate("the watch of %s on %s ends: %v", f.name, p.host.name, err)
	}
	return err == nil && f.ends()
}

// read records what a watch delivers. It returns nil at the end of the stay.
func (f *follower) read(ctx context.Context, node *cluster.Node, p *proc, watch kv.Watch) error {
	began, stay := time.Now(), f.stay()
	for time.Since(began) < stay {
		waiting, cancel := context.WithTimeout(ctx, min(watchLook, stay-time.Since(began)))
		b, err := watch.Next(waiting)
		cancel()
		quiet := err != nil && ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded)
		if p.isDead() {
			return nil
		}
		if err != nil && !quiet {
			return err
		}
		if !quiet && !f.check(f.record.Received(b)) {
			return nil
		}
		if (quiet || b.Kind == kv.WatchProgress) && !f.check(f.record.Reached(watch.Revision(), newestRevision(node))) {
			return nil
		}
	}
	return nil
}

// check makes an error a violation.
func (f *follower) check(err error) bool {
	if err != nil {
		f.w.violate("%v", err)
	}
	return err == nil
}

// open opens a watch, which a control may have broken.
func (w *world) open(ctx context.Context, node *cluster.Node, options kv.WatchOptions) (kv.Watch, error) {
	watch, err := node.Watch(ctx, options)
	if err == nil && w.plan.breakWatch != nil {
		watch = w.plan.breakWatch(watch)
	}
	return watch, err
}

// newestRevision returns the revision of a node's store, or a maximum if the node is closed.
func newestRevision(node *cluster.Node) uint64 {
	result, err := node.Get(context.Background(), "probe", kv.ReadOptions{Level: kv.Stale})
	if err != nil {
		return math.MaxUint64
	}
	return result.Revision
}

// compactRevision returns the oldest revision that a node's store can read, or the default if
// the node is closed.
func compactRevision(node *cluster.Node, byDefault uint64) uint64 {
	view, err := node.View(context.Background(), kv.ReadOptions{Level: kv.Stale})
	if err != nil {
		return byDefault
	}
	defer func() { _ = view.Close() }() // always nil
	return view.CompactRevision()
}

// followed waits until all watches on these hosts, and those that change their node, have
// delivered all changes up to a revision.
func (w *world) followed(members []*host, revision uint64) bool {
	there := map[string]bool{"a watcher": true}
	for _, h := range members {
		there[h.name] = true
	}
	return w.poll(healLimit, "watches deliver all changes", func() error {
		for _, f := range w.followers {
			if position := f.position(); there[f.name] && position < revision {
				return fmt.Errorf("that of %s is at revision %d of %d", f.name, position, revision)
			}
		}
		return nil
	})
}
