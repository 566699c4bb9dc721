package sim

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/kvorum/kvorum/cluster"
	"github.com/kvorum/kvorum/kv"
)

const (
	// leasePrefix is that of keys that are attached to a lease. They are among those that the
	// model leaves out, as keys with a time to live are.
	leasePrefix = sessionPrefix + "lease-"
	// leaseKeys is the number of keys of a lease.
	leaseKeys = 3
	// leaseSlack is by how much a lease may seem to end early: a part of its time for clocks that
	// are wrong, and a constant for what the median of clocks may move.
	leaseSlackPart, leaseSlack = 10, 300 * time.Millisecond
	// leaseLimit is the maximum time from the end of all faults and clients until all leases have
	// ended.
	leaseLimit = 20 * time.Second
)

// lease is a lease of one client.
type lease struct {
	id   kv.LeaseID
	ttl  time.Duration
	kept time.Time // when the newest request that has kept it alive, and was answered, was sent
	name string    // the beginning of its keys
}

// lease grants a lease with keys, or keeps the client's alive, revokes it, or looks for its keys.
func (c *client) lease(ctx context.Context, node *cluster.Node, p *proc) {
	switch n := c.rng.IntN(20); {
	case c.leased == nil:
		c.grant(ctx, node, p)
	case n == 0:
		c.leased = nil // nobody keeps it alive any more
	case n == 1:
		_, err := node.Do(ctx, kv.Revoke(c.leased.id))
		if !p.isDead() && errors.Is(err, kv.ErrLeaseNotFound) {
			c.leaseEnded("revoke")
		}
		c.leased = nil
	case n < 8:
		c.lookForLease(ctx, node, p)
	default:
		c.keepAlive(ctx, node, p)
	}
}

// grant makes a lease, and attaches keys to it with one request.
func (c *client) grant(ctx context.Context, node *cluster.Node, p *proc) {
	sent, ttl := time.Now(), time.Duration(2000+c.rng.IntN(2000))*time.Millisecond
	response, err := node.Do(ctx, kv.Grant(0, ttl))
	if p.isDead() || err != nil {
		return // if there is such a lease, it ends by itself
	}
	l := &lease{id: response.Results[0].Lease, ttl: ttl, kept: sent, name: fmt.Sprintf("%s%d.%d-", leasePrefix, c.id, c.next)}
	c.next++
	r := kv.Request{}
	for i := range leaseKeys {
		r.Then = append(r.Then, kv.Op{Kind: kv.OpPut, Key: fmt.Sprint(l.name, i), Lease: l.id})
	}
	c.leased = l
	_, err = node.Do(ctx, r)
	if p.isDead() || err == nil {
		return
	}
	if errors.Is(err, kv.ErrLeaseNotFound) {
		c.leaseEnded("put")
	}
	c.leased = nil
}

// keepAlive keeps the client's lease alive.
func (c *client) keepAlive(ctx context.Context, node *cluster.Node, p *proc) {
	sent := time.Now()
	ttl, err := node.KeepAlive(ctx, c.leased.id)
	switch {
	case p.isDead() || err != nil: // it may have been kept alive
	case ttl == 0:
		c.leaseEnded("keep-alive")
		c.leased = nil
	case ttl != c.leased.ttl:
		c.w.violate("the lease %d lives for %v, and was granted for %v", c.leased.id, ttl, c.leased.ttl)
	default:
		c.leased.kept = sent
	}
}

// leaseEnded is called when an answer says that the client's lease has ended.
func (c *client) leaseEnded(what string) {
	l := c.leased
	c.w.count.leases.Add(1)
	if early := time.Until(l.kept.Add(l.ttl - l.ttl/leaseSlackPart - leaseSlack)); early > 0 {
		c.w.violate("%s: the lease %d of %v is gone %v after it was kept alive", what, l.id, l.ttl, time.Since(l.kept))
	}
}

// lookForLease makes sure that a view of a node has all keys of the client's lease, or none.
func (c *client) lookForLease(ctx context.Context, node *cluster.Node, p *proc) {
	view, err := node.View(ctx, kv.ReadOptions{Level: []kv.Consistency{kv.Linearizable, kv.Stale}[c.rng.IntN(2)]})
	if err != nil {
		return
	}
	defer func() { _ = view.Close() }() // always nil
	if found := view.Count(kv.Prefix(c.leased.name)); !p.isDead() && found != 0 && found != leaseKeys {
		c.w.violate("%s shows %d of %d keys of the lease %d", p.host.name, found, leaseKeys, c.leased.id)
	}
}

// settleLeases waits until all leases have ended: nobody keeps them alive any more.
func (w *world) settleLeases(n *nemesis) {
	w.poll(leaseLimit, "all leases end", func() error {
		node, p := w.hosts[0].live()
		for _, h := range n.members() {
			if node == nil {
				node, p = h.live()
			}
		}
		if node == nil {
			return errors.New("no node runs")
		}
		ctx, cancel := context.WithTimeout(p.ctx, 2*time.Second)
		defer cancel()
		list, err := node.Leases(ctx, 0, 0)
		if err != nil || len(list.Leases) == 0 {
			return err
		}
		return fmt.Errorf("there are %d", len(list.Leases))
	})
}
