package sim

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/kvorum/kvorum/cluster"
)

const (
	keysAtOnce = 4
	// keyLife is how long the clients use one set of keys. Short histories are quicker to check.
	keyLife = 15 * time.Second
)

// client does one operation after the other, each through some node.
type client struct {
	w    *world
	id   int
	rng  *rand.Rand
	next int                           // number of the next value
	seen map[string]cluster.ReadResult // last read of each key, for swaps
}

func newClient(w *world, id int) *client {
	return &client{w: w, id: id, rng: rand.New(rand.NewPCG(w.plan.seed, 100+uint64(id))), seen: map[string]cluster.ReadResult{}}
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

// act does one operation. A process that dies meanwhile answers nothing.
func (c *client) act() {
	node, p := c.pick()
	if node == nil {
		return
	}
	timeout := time.Duration(200+c.rng.IntN(2500)) * time.Millisecond
	ctx, cancel := context.WithTimeout(p.ctx, timeout)
	defer cancel()
	c.w.count.ops.Add(1)
	switch n := c.rng.IntN(100); {
	case n < 40:
		c.get(ctx, node, p)
	case n < 65:
		c.put(ctx, node, p)
	case n < 75:
		c.swap(ctx, node, p)
	case n < 83:
		c.remove(ctx, node, p)
	case n < 93:
		c.once(ctx, node, p)
	default:
		c.list(ctx, node, p)
	}
}

// pick chooses a node that lives.
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

// keys returns the keys in use now.
func (c *client) keys() []string {
	age := int(time.Since(c.w.trace.start) / keyLife)
	keys := make([]string, keysAtOnce)
	for i := range keys {
		keys[i] = fmt.Sprintf("key-%03d-%d", age, i)
	}
	return keys
}

func (c *client) value() string {
	c.next++
	// Some are large, so that logs grow and snapshots are taken.
	return fmt.Sprintf("%d.%d%s", c.id, c.next, strings.Repeat("-", []int{0, 0, 0, 300, 1000}[c.rng.IntN(5)]))
}

func (c *client) get(ctx context.Context, node *cluster.Node, p *proc) {
	key, call := c.key(), c.w.hist.call()
	level := cluster.Linearizable
	if c.w.plan.leaderReads {
		if node.Status().Role != "leader" {
			return
		}
		level = cluster.Stale
	}
	result, err := node.Get(ctx, key, level)
	if err != nil || p.disk.isDead() {
		return // says nothing
	}
	c.seen[key] = result
	c.w.hist.add(c.id, input{kind: opGet, key: key}, output{value: c.read(result)}, call)
}

// read returns the value that was read, and checks its revision.
func (c *client) read(result cluster.ReadResult) string {
	if !result.Found {
		return ""
	}
	c.saw(string(result.Item.Value), result.Item.ModRevision)
	return string(result.Item.Value)
}

func (c *client) saw(value string, revision uint64) {
	if err := c.w.hist.saw(value, revision); err != nil {
		c.w.violate("%v", err)
	}
}

func (c *client) put(ctx context.Context, node *cluster.Node, p *proc) {
	in := input{kind: opPut, key: c.key(), value: c.value()}
	c.write(p, in, func() (cluster.WriteResult, error) {
		return node.Put(ctx, in.key, []byte(in.value), cluster.Condition{})
	})
}

func (c *client) swap(ctx context.Context, node *cluster.Node, p *proc) {
	in := input{kind: opSwap, key: c.key(), value: c.value()}
	cond := cluster.Condition{Kind: cluster.CondAbsent}
	if last := c.seen[in.key]; last.Found {
		in.expect = string(last.Item.Value)
		cond = cluster.Condition{Kind: cluster.CondRevision, Revision: last.Item.ModRevision}
	}
	c.write(p, in, func() (cluster.WriteResult, error) {
		return node.Put(ctx, in.key, []byte(in.value), cond)
	})
}

func (c *client) remove(ctx context.Context, node *cluster.Node, p *proc) {
	in := input{kind: opDelete, key: c.key()}
	c.write(p, in, func() (cluster.WriteResult, error) {
		return node.Delete(ctx, in.key, cluster.Condition{})
	})
}

// write does a write and records what became of it.
func (c *client) write(p *proc, in input, do func() (cluster.WriteResult, error)) {
	call := c.w.hist.call()
	result, err := do()
	switch c.fate(p, err) {
	case unknown:
		c.w.hist.add(c.id, in, output{unknown: true}, call)
		return
	case notDone:
		return // must never be seen
	}
	out := output{done: result.Created}
	switch in.kind {
	case opDelete:
		out.done = result.Found
	case opSwap:
		out.done = !result.ConditionFailed
	}
	if in.kind != opDelete && !result.ConditionFailed {
		c.saw(in.value, result.Revision)
	}
	c.w.hist.add(c.id, in, out, call)
}

// fate sorts the answer to a write as the interface promises it.
func (c *client) fate(p *proc, err error) fate {
	switch {
	case p.disk.isDead(), errors.Is(err, cluster.ErrUnknownOutcome):
		c.w.count.unknown.Add(1)
		return unknown
	case err != nil:
		c.w.count.notDone.Add(1)
		return notDone
	}
	c.w.hist.ack()
	return acknowledged
}

// once writes a key that nobody writes again.
func (c *client) once(ctx context.Context, node *cluster.Node, p *proc) {
	c.next++
	value := fmt.Sprintf("%d.%d", c.id, c.next)
	key := "once-" + value
	result, err := node.Put(ctx, key, []byte(value), cluster.Condition{Kind: cluster.CondAbsent})
	f := c.fate(p, err)
	if f == acknowledged {
		if result.ConditionFailed {
			c.w.violate("key %s was there before it was first written", key)
		}
		c.saw(value, result.Revision)
	}
	c.w.hist.addOnce(key, f)
}

// list reads all keys in use, which counts as a get of each.
func (c *client) list(ctx context.Context, node *cluster.Node, p *proc) {
	if c.w.plan.leaderReads {
		return
	}
	keys, call := c.keys(), c.w.hist.call()
	list, err := node.List(ctx, cluster.Linearizable)
	if err != nil || p.disk.isDead() {
		return
	}
	found := map[string]string{}
	prefix, _, _ := strings.Cut(keys[0][len("key-"):], "-")
	for item := range list.All("key-"+prefix, "") {
		found[item.Key] = string(item.Value)
		c.saw(string(item.Value), item.ModRevision)
		if item.ModRevision > list.Revision {
			c.w.violate("list at revision %d shows %s of revision %d", list.Revision, item.Key, item.ModRevision)
		}
	}
	for _, key := range keys {
		c.w.hist.add(c.id, input{kind: opGet, key: key}, output{value: found[key]}, call)
	}
}
