package sim

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/kvorum/kvorum/cluster"
	"github.com/kvorum/kvorum/kv"
	"github.com/kvorum/kvorum/test/history"
)

const (
	keysAtOnce = 4
	// keyLife is the time for which the clients use one set of keys. Short histories take
	// less time to check.
	keyLife = 15 * time.Second
)

// client does one operation after the other, each through some node.
type client struct {
	w    *world
	id   int
	rng  *rand.Rand
	next int                      // number of the next value
	seen map[string]kv.ReadResult // last read of each key, for swaps
	own  *session                 // the newest one that this client has made, nil if it may be gone

	leased *lease // the one that the client keeps alive, nil if there is none
}

func newClient(w *world, id int) *client {
	return &client{w: w, id: id, rng: rand.New(rand.NewPCG(w.plan.seed, 100+uint64(id))), seen: map[string]kv.ReadResult{}}
}

func (c *client) run(stop <-chan struct{}) {
	for {
		pause := time.Duration(c.rng.ExpFloat64() * float64(c.w.plan.pause))
		select {
		case <-time.After(pause):
			c.act()
		case <-stop:
			return
		case <-c.w.broken:
			return
		}
	}
}

// act does one operation. A process that dies meanwhile gives no answer.
func (c *client) act() {
	node, p := c.pick()
	if node == nil {
		return
	}
	timeout := time.Duration(200+c.rng.IntN(2500)) * time.Millisecond
	ctx, cancel := context.WithTimeout(p.ctx, timeout)
	defer cancel()
	c.w.count.ops.Add(1)
	switch n := c.rng.IntN(200); {
	case n < 10:
		c.increment()
	case n < 60:
		c.get(ctx, node, p)
	case n < 96:
		c.put(ctx, node, p)
	case n < 112:
		c.swap(ctx, node, p)
	case n < 124:
		c.remove(ctx, node, p)
	case n < 134 && c.w.plan.builds:
		c.pair(ctx, node, p)
	case n < 140:
		c.once(ctx, node, p)
	case n < 150:
		c.list(ctx, node, p)
	case n < 156 && c.w.plan.evicts && n%2 == 0:
		c.cache(ctx, node)
	case n < 155:
		c.session(ctx, node, p)
	case n < 161:
		c.lease(ctx, node, p)
	case n < 165:
		c.lookForSessions(ctx, node, p)
	case n < 185:
		c.transact(ctx, node, p)
	case n < 199:
		c.readPast(ctx, node, p)
	default:
		c.compact(ctx, node, p)
	}
}

// pick chooses a live node.
func (c *client) pick() (*cluster.Node, *proc) {
	first := c.rng.IntN(len(c.w.hosts))
	for i := range c.w.hosts {
		if node, p := c.w.hosts[(first+i)%len(c.w.hosts)].live(); node != nil {
			return node, p
		}
	}
	return nil, nil
}

func (c *client) key() string { return c.keys()[c.rng.IntN(keysAtOnce)] }

// prefix returns that of the keys in use now.
func (c *client) prefix() string {
	return fmt.Sprintf("key-%03d-", int(time.Since(c.w.trace.start)/keyLife))
}

// keys returns the keys in use now.
func (c *client) keys() []string {
	prefix, keys := c.prefix(), make([]string, keysAtOnce)
	for i := range keys {
		keys[i] = fmt.Sprint(prefix, i)
	}
	return keys
}

func (c *client) value() string {
	c.next++
	// Some are large, so that logs grow and snapshots are taken.
	if c.w.plan.large && c.rng.IntN(50) == 0 {
		return fmt.Sprintf("%d.%d%s", c.id, c.next, strings.Repeat("-", 100_000+c.rng.IntN(300_000)))
	}
	return fmt.Sprintf("%d.%d%s", c.id, c.next, strings.Repeat("-", []int{0, 0, 0, 300, 1000}[c.rng.IntN(5)]))
}

func (c *client) get(ctx context.Context, node *cluster.Node, p *proc) {
	key, call, asked := c.key(), c.w.hist.Call(), c.w.chronicle.Call()
	options := kv.ReadOptions{}
	if c.w.plan.leaderReads {
		if node.Status().Role != "leader" {
			return
		}
		options.Level = kv.Stale
	}
	result, err := node.Get(ctx, key, options)
	if err != nil || p.disk.isDead() {
		return // says nothing
	}
	c.seen[key] = result
	var items []kv.Item
	if result.Found {
		items = []kv.Item{result.Item}
	}
	c.w.expect(c.w.chronicle.Read(asked, p.host.name, kv.One(key), result.Revision, items))
	c.w.hist.Add(c.id, history.Input{Kind: history.Get, Key: key}, history.Output{Value: c.read(result)}, call)
}

// read returns the value that was read, and checks its revision.
func (c *client) read(result kv.ReadResult) string {
	if !result.Found {
		return ""
	}
	c.saw(string(result.Item.Value), result.Item.ModRevision)
	return string(result.Item.Value)
}

func (c *client) saw(value string, revision uint64) {
	if err := c.w.hist.Saw(value, revision); err != nil {
		c.w.violate("%v", err)
	}
}

func (c *client) put(ctx context.Context, node *cluster.Node, p *proc) {
	in := history.Input{Kind: history.Put, Key: c.key(), Value: c.value()}
	c.write(ctx, node, p, in, kv.Put(in.Key, []byte(in.Value)))
}

func (c *client) swap(ctx context.Context, node *cluster.Node, p *proc) {
	in := history.Input{Kind: history.Swap, Key: c.key(), Value: c.value()}
	cond := kv.Absent(in.Key)
	if last := c.seen[in.Key]; last.Found {
		in.Expect = string(last.Item.Value)
		cond = kv.ModRevision(in.Key, last.Item.ModRevision)
	}
	c.write(ctx, node, p, in, kv.Put(in.Key, []byte(in.Value), cond))
}

func (c *client) remove(ctx context.Context, node *cluster.Node, p *proc) {
	in := history.Input{Kind: history.Delete, Key: c.key()}
	c.write(ctx, node, p, in, kv.Delete(in.Key))
}

// write does a write and records its outcome. It returns the answer's error.
func (c *client) write(ctx context.Context, node *cluster.Node, p *proc, in history.Input, request kv.Request) error {
	call := c.w.hist.Call()
	result, err := c.w.do(ctx, node, p, request)
	switch c.fate(p, err) {
	case history.Unknown:
		c.w.hist.Add(c.id, in, history.Output{Unknown: true}, call)
		return err
	case history.NotDone:
		return err // must never be seen
	}
	existed := result.Results[0].Existed
	out := history.Output{Done: !existed}
	switch in.Kind {
	case history.Delete:
		out.Done = existed
	case history.Swap:
		out.Done = result.Succeeded
	}
	if in.Kind != history.Delete && result.Succeeded {
		c.saw(in.Value, result.Revision)
	}
	c.w.hist.Add(c.id, in, out, call)
	return nil
}

// fate returns the outcome of a write by its answer, as the API defines it.
func (c *client) fate(p *proc, err error) history.Fate {
	switch {
	case p.disk.isDead(), errors.Is(err, kv.ErrUnknownOutcome):
		c.w.count.unknown.Add(1)
		return history.Unknown
	case err != nil:
		c.w.count.notDone.Add(1)
		return history.NotDone
	}
	c.w.hist.Acknowledge()
	return history.Acknowledged
}

// once writes a key that is never written again.
func (c *client) once(ctx context.Context, node *cluster.Node, p *proc) {
	c.next++
	value := fmt.Sprintf("%d.%d", c.id, c.next)
	key := "once-" + value
	result, err := c.w.do(ctx, node, p, kv.Put(key, []byte(value), kv.Absent(key)))
	f := c.fate(p, err)
	if f == history.Acknowledged {
		if !result.Succeeded {
			c.w.violate("key %s was there before it was first written", key)
		}
		c.saw(value, result.Revision)
	}
	c.w.hist.AddOnce(key, value, f)
}

// list reads all keys in use, which counts as a get of each.
func (c *client) list(ctx context.Context, node *cluster.Node, p *proc) {
	if c.w.plan.leaderReads {
		return
	}
	keys, call, asked := c.keys(), c.w.hist.Call(), c.w.chronicle.Call()
	span := kv.Prefix(c.prefix())
	view, err := node.View(ctx, kv.ReadOptions{})
	if err != nil {
		return
	}
	defer func() { _ = view.Close() }() // always nil
	if p.disk.isDead() {
		return
	}
	found := map[string]string{}
	items := slices.Collect(view.Ascend(span))
	c.w.expect(c.w.chronicle.Read(asked, p.host.name, span, view.Revision(), items))
	for _, item := range items {
		found[item.Key] = string(item.Value)
		c.saw(string(item.Value), item.ModRevision)
		if item.ModRevision > view.Revision() {
			c.w.violate("list at revision %d shows %s of revision %d", view.Revision(), item.Key, item.ModRevision)
		}
	}
	for _, key := range keys {
		c.w.hist.Add(c.id, history.Input{Kind: history.Get, Key: key}, history.Output{Value: found[key]}, call)
	}
}
