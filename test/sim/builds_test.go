package sim

import (
	"context"
	"errors"
	"time"

	"github.com/kvorum/kvorum/cluster"
	"github.com/kvorum/kvorum/kv"
	"github.com/kvorum/kvorum/test/history"
)

// build is the program that a host runs. An older build stops at an entry of the log with
// a newer command. So the simulation finds each command that a member does not understand:
// no host that has data ever gets an older program than it had.
type build struct {
	understands uint8 // 2 to 4; 0 is this version of the program
	announces   int   // the command version that it announces at most; 0 is what it understands
}

// mixBuilds makes a cluster of nodes of several builds. Faults restart nodes with the newer
// build, or make them announce less or more. Clients often send newer commands.
func (p *plan) mixBuilds() {
	p.builds, p.checkpoints = true, 500*time.Millisecond
	p.faults = append(p.faults,
		harm{"restart one with the newer build", func(n *nemesis) {
			n.rebuild(n.any(), func(b *build) { b.understands = max(b.understands, uint8(3+n.rng.IntN(2))) })
		}},
		harm{"restart one that announces more or less", func(n *nemesis) {
			n.rebuild(n.victim(), func(b *build) { b.announces = n.rng.IntN(int(b.understands) + 1) })
		}},
	)
}

// chooseBuild gives a host without data one of the builds, if there are several.
func (h *host) chooseBuild() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.w.plan.builds {
		h.build = build{understands: uint8(2 + h.rng.IntN(3))}
	}
}

// runs returns the build of the host's next process.
func (h *host) runs() build {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.build
}

// rebuild restarts a host with another build.
func (n *nemesis) rebuild(h *host, change func(*build)) {
	h.die(killed)
	h.mu.Lock()
	change(&h.build)
	now := h.build
	h.mu.Unlock()
	n.w.trace.add("%s: understands commands up to %d, announces %d", h.name, now.understands, now.announces)
	n.w.sleep(n.between(100, 1500))
	h.start()
}

// upgradeAll gives the newest build to every host that is, or is to be, a member. A host
// with the older build can't become a member once newer commands were written.
func (n *nemesis) upgradeAll() {
	if !n.w.plan.builds {
		return
	}
	for _, h := range n.configured() {
		if h.runs() != (build{understands: 4}) {
			n.rebuild(h, func(b *build) { *b = build{understands: 4} })
		}
	}
}

// pair changes two keys by one request, which the older build does not understand. No other
// client uses the second key.
func (c *client) pair(ctx context.Context, node *cluster.Node, p *proc) {
	in := history.Input{Kind: history.Put, Key: c.key(), Value: c.value()}
	request := kv.Put(in.Key, []byte(in.Value))
	request.Then = append(request.Then, kv.Op{Kind: kv.OpPut, Key: "pair-" + in.Key, Value: []byte(in.Value), Flags: 1})
	switch err := c.write(ctx, node, p, in, request); {
	case err == nil:
		c.w.count.newer.Add(1)
	case errors.Is(err, kv.ErrUnsupported):
		c.w.count.unsupported.Add(1)
	}
}
