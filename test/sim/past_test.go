package sim

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/kvorum/kvorum/cluster"
	"github.com/kvorum/kvorum/kv"
	"github.com/kvorum/kvorum/test/chronicle"
)

// transactionKeys is the number of keys that transactions use at once.
const transactionKeys = 5

// do does a request and records it.
func (w *world) do(ctx context.Context, node *cluster.Node, p *proc, request kv.Request) (kv.Response, error) {
	call := w.chronicle.Call()
	response, err := node.Do(ctx, request)
	switch {
	case p.isDead(), errors.Is(err, kv.ErrUnknownOutcome):
		w.chronicle.Unknown(call, request)
	case err != nil:
		w.chronicle.Refused(call, request, err)
	default:
		w.expect(w.chronicle.Done(call, request, response))
	}
	return response, err
}

// expect makes an error a violation.
func (w *world) expect(err error) {
	if err != nil {
		w.violate("%v", err)
	}
}

// generator makes transactions over the keys that are in use now.
func (c *client) generator() chronicle.Generator {
	prefix := strings.Replace(c.prefix(), "key", "txn", 1)
	g := chronicle.Generator{Rand: c.rng, Prefix: prefix, Newest: c.w.chronicle.Newest()}
	for i := range transactionKeys {
		g.Keys = append(g.Keys, fmt.Sprint(prefix, i))
	}
	g.Value = func() string {
		c.next++
		return fmt.Sprintf("%d.%d", c.id, c.next)
	}
	return g
}

// transact does a random transaction.
func (c *client) transact(ctx context.Context, node *cluster.Node, p *proc) {
	g := c.generator()
	_, err := c.w.do(ctx, node, p, g.Request())
	c.fate(p, err)
}

// anySpan returns keys of one kind, one of these, or now and then all keys.
func (c *client) anySpan() kv.Span {
	g := c.generator()
	switch c.rng.IntN(10) {
	case 0:
		return kv.All()
	case 1, 2:
		return kv.One(c.key())
	case 3, 4:
		return kv.Prefix(c.prefix())
	case 5, 6:
		return kv.One(g.Keys[c.rng.IntN(transactionKeys)])
	}
	return kv.Prefix(g.Prefix)
}

// readPast reads at some revision: often a recent one, and also one at the edge of the
// history, or a future one.
func (c *client) readPast(ctx context.Context, node *cluster.Node, p *proc) {
	newest := c.w.chronicle.Newest()
	revision := newest - min(newest, uint64(c.rng.IntN(100)))
	switch c.rng.IntN(8) {
	case 0:
		revision = newest + uint64(c.rng.IntN(4))
	case 1, 2:
		revision = c.oldest()
	}
	levels := []kv.Consistency{kv.Linearizable, kv.Linearizable, kv.LeaderLocal, kv.Stale}
	options := kv.ReadOptions{Level: levels[c.rng.IntN(len(levels))], Revision: max(revision, 1)}
	past := chronicle.Past{Who: p.host.name, Span: c.anySpan(), Revision: options.Revision, Linearizable: options.Level == kv.Linearizable}
	past.Before = compactRevision(node, 0)
	call := c.w.chronicle.Call()
	past.Err = c.lookBack(ctx, node, options, &past)
	past.After = compactRevision(node, math.MaxUint64)
	if !p.isDead() {
		c.w.expect(c.w.chronicle.ReadPast(call, past))
	}
}

// lookBack does a read of the past: of one key, of a range in either direction, or a count.
func (c *client) lookBack(ctx context.Context, node *cluster.Node, options kv.ReadOptions, past *chronicle.Past) error {
	if key, one := past.Span.Key(); one && c.rng.IntN(2) == 0 {
		result, err := node.Get(ctx, key, options)
		if result.Found {
			past.Items = []kv.Item{result.Item}
		}
		past.Answered = result.Revision
		return err
	}
	view, err := node.View(ctx, options)
	if err != nil {
		return err
	}
	defer func() { _ = view.Close() }() // always nil
	past.Answered = view.Revision()
	switch c.rng.IntN(3) {
	case 0:
		past.Items = slices.Collect(view.Ascend(past.Span))
	case 1:
		past.Items = slices.Collect(view.Descend(past.Span))
		slices.Reverse(past.Items)
	default:
		past.Counted, past.Count = true, view.Count(past.Span)
	}
	return view.Err()
}

// compact discards some of the history.
func (c *client) compact(ctx context.Context, node *cluster.Node, p *proc) {
	newest := c.w.chronicle.Newest()
	revision := newest - min(newest, uint64(c.rng.IntN(300)))
	if c.rng.IntN(8) == 0 {
		revision = newest + uint64(c.rng.IntN(4))
	}
	revision = max(revision, 1)
	call := c.w.chronicle.Call()
	result, err := node.Compact(ctx, revision)
	switch {
	case p.isDead():
	case err == nil:
		c.w.expect(c.w.chronicle.CompactDone(call, revision, result))
	default:
		c.w.expect(c.w.chronicle.CompactRefused(call, revision, err))
	}
}
