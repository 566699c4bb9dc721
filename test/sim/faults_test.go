package sim

import (
	"context"
	"math/rand/v2"
	"time"
)

// harm is one kind of fault.
type harm struct {
	name string
	do   func(*nemesis)
}

// Faults by the part that they break. A simulation chooses some of them.
var (
	crashes = []harm{
		{"kill a follower or the leader", func(n *nemesis) { n.victim().die(killed) }},
		{"kill the leader", func(n *nemesis) { n.leader().die(killed) }},
		{"power fails at one", func(n *nemesis) { n.victim().die(powerLost) }},
		{"kill all", func(n *nemesis) { n.all(killed) }},
		{"power fails at all", func(n *nemesis) { n.all(powerLost) }},
		{"die within a change of the disk", func(n *nemesis) { n.dieWithin() }},
		{"kill and restart in turn", func(n *nemesis) { n.rolling() }},
	}
	powerLoss = []harm{
		{"power fails at all", func(n *nemesis) { n.all(powerLost) }},
	}
	// The old leader gets answers after a transfer that were sent before it.
	lateAcks = []harm{
		{"transfer, slow towards the old leader", func(n *nemesis) { n.slowTowards(n.leader(), 80, 200); n.transfer() }},
	}
	// Neither the old leader nor the read replicas hear of a new one in time.
	lateReplicas = []harm{
		{"grow by read replicas", func(n *nemesis) { n.growBy(func() (votes bool) { return false }) }},
		{"transfer, slow from the others to the old leader and read replicas", func(n *nemesis) {
			n.slowFromFollowers(80, 200)
			n.transfer()
		}},
	}
	partitions = []harm{
		{"isolate one", func(n *nemesis) { n.isolate(n.victim(), true, true) }},
		{"one hears nothing", func(n *nemesis) { n.isolate(n.victim(), true, false) }},
		{"nobody hears one", func(n *nemesis) { n.isolate(n.victim(), false, true) }},
		{"halves", func(n *nemesis) { n.halves() }},
		{"a pair", func(n *nemesis) { n.pair() }},
		{"a bridge", func(n *nemesis) { n.bridge() }},
	}
	slowness = []harm{
		{"delay and loss", func(n *nemesis) { n.slowNetwork() }},
		{"delay towards one", func(n *nemesis) { n.slowTowards(n.victim(), 20, 300) }},
		{"connections reset", func(n *nemesis) { n.resets() }},
		{"stall", func(n *nemesis) { n.stall() }},
	}
	narrowness = []harm{
		{"narrow links", func(n *nemesis) { n.narrow(n.w.hosts...) }},
		{"narrow links around one", func(n *nemesis) { n.narrow(n.victim()) }},
	}
	diskFaults = []harm{
		{"a slow disk", func(n *nemesis) { n.slowDisk() }},
		{"a disk hangs", func(n *nemesis) { n.hangDisk() }},
		{"a disk fails", func(n *nemesis) { n.failDisk() }},
		{"two slow disks, and power fails at all", func(n *nemesis) { n.slowMajority() }},
	}
	transfers = []harm{
		{"transfer", func(n *nemesis) { n.transfer() }},
		{"transfer, slow towards the old leader", func(n *nemesis) { n.slowTowards(n.leader(), 20, 300); n.transfer() }},
	}
	tailLosses = []harm{
		{"a log's end is lost", func(n *nemesis) { n.loseTail() }},
		{"a log's end is lost, and who has it is away", func(n *nemesis) { n.loseTailAlone() }},
	}
	memberships = []harm{
		{"wipe", func(n *nemesis) { n.wipe() }},
		{"grow", func(n *nemesis) { n.grow() }},
		{"shrink", func(n *nemesis) { n.shrink() }},
		{"gossip is blind", func(n *nemesis) { n.w.hub.setBlind(n.any().name, true) }},
	}
)

func (n *nemesis) all(how death) {
	for _, h := range n.w.hosts {
		h.die(how)
	}
}

// dieWithin makes one process, or all, die just before one of the next changes of their
// disks.
func (n *nemesis) dieWithin() {
	how := []death{killed, powerLost}[n.rng.IntN(2)]
	hosts := []*host{n.victim()}
	if n.rng.IntN(3) == 0 {
		hosts = n.members()
	}
	for _, h := range hosts {
		if _, p := h.live(); p != nil {
			p.dieAt(1+n.rng.IntN(30), how)
			if n.rng.IntN(2) == 0 {
				n.w.after(n.between(100, 2000), h.start) // and perhaps again while it starts
			}
		}
	}
}

func (n *nemesis) rolling() {
	for _, h := range n.members() {
		h.die(killed)
		n.w.sleep(n.between(100, 1500))
		h.start()
		n.w.sleep(n.between(100, 1500))
	}
}

// cut blocks the way from one host to another.
func (n *nemesis) cut(from, to *host) {
	if from != to {
		n.w.net.set(from.name, to.name, link{blocked: true})
	}
}

func (n *nemesis) isolate(h *host, in, out bool) {
	for _, other := range n.w.hosts {
		if in {
			n.cut(other, h)
		}
		if out {
			n.cut(h, other)
		}
	}
}

func (n *nemesis) halves() {
	side := map[*host]bool{}
	for i, k := range n.rng.Perm(len(n.w.hosts)) {
		side[n.w.hosts[k]] = i%2 == 0
	}
	for _, a := range n.w.hosts {
		for _, b := range n.w.hosts {
			if side[a] != side[b] {
				n.cut(a, b)
			}
		}
	}
}

func (n *nemesis) pair() {
	a, b := n.any(), n.any()
	n.cut(a, b)
	if n.rng.IntN(2) == 0 {
		n.cut(b, a)
	}
}

// bridge divides the hosts into two halves; only one host still reaches both.
func (n *nemesis) bridge() {
	order := n.rng.Perm(len(n.w.hosts))
	middle := len(order) / 2
	for i, a := range order {
		for j, b := range order {
			if (i < middle && j > middle) || (i > middle && j < middle) {
				n.cut(n.w.hosts[a], n.w.hosts[b])
			}
		}
	}
}

func (n *nemesis) slowNetwork() {
	l := link{
		min: time.Millisecond, max: time.Duration(2+n.rng.IntN(300)) * time.Millisecond,
		loss: 0.2 * n.rng.Float64(), reset: 0.01 * n.rng.Float64(),
	}
	for _, a := range n.w.hosts {
		for _, b := range n.w.hosts {
			n.w.net.set(a.name, b.name, l)
		}
	}
}

// slowTowards makes all segments to a host take between low and high milliseconds.
func (n *nemesis) slowTowards(h *host, low, high int) {
	delay := n.between(low, high)
	for _, other := range n.w.hosts {
		n.w.net.set(other.name, h.name, link{min: delay, max: delay + delay/4})
	}
}

// slowFromFollowers makes all segments from voters other than the leader to the leader and
// to read replicas take between low and high milliseconds.
func (n *nemesis) slowFromFollowers(low, high int) {
	leader, delay := n.leader(), n.between(low, high)
	for _, from := range n.w.hosts {
		for _, to := range n.w.hosts {
			if from != leader && from.votes() && (to == leader || !to.votes()) {
				n.w.net.set(from.name, to.name, link{min: delay, max: delay + delay/4})
			}
		}
	}
}

// narrow limits each link to and from some hosts to 1 to 50 Mbit/s, or all links from one
// host together.
func (n *nemesis) narrow(some ...*host) {
	l := n.w.plan.link
	l.rate, l.shared = int64(1+n.rng.IntN(50))*megabit, n.rng.IntN(2) == 0
	for _, h := range some {
		for _, other := range n.w.hosts {
			n.w.net.set(h.name, other.name, l)
			n.w.net.set(other.name, h.name, l)
		}
	}
}

func (n *nemesis) resets() {
	a, b := n.any(), n.any()
	n.w.net.resetAll(a.name, b.name)
}

// stall delays all segments from and to one host for some time. Then they arrive at once.
func (n *nemesis) stall() {
	h := n.victim()
	n.isolate(h, true, true)
	if _, p := h.live(); p != nil {
		p.disk.stop(n.between(100, 2000))
	}
	n.w.sleep(n.between(100, 2000))
	n.w.net.heal()
}

func (n *nemesis) slowDisk() {
	if _, p := n.victim().live(); p != nil {
		p.disk.setSlow(n.between(10, 400))
	}
}

func (n *nemesis) hangDisk() {
	if _, p := n.victim().live(); p != nil {
		p.disk.stop(n.between(500, 8000))
	}
}

func (n *nemesis) failDisk() {
	if _, p := n.victim().live(); p != nil {
		p.fail(1+n.rng.IntN(40), rand.New(rand.NewPCG(n.rng.Uint64(), 0)))
	}
}

func (n *nemesis) transfer() {
	node, p := n.leader().live()
	if node == nil {
		return
	}
	n.w.count.transfers.Add(1)
	ctx, cancel := context.WithTimeout(p.ctx, 3*time.Second)
	defer cancel()
	err := node.TransferLeadership(ctx)
	n.w.trace.add("%s hands over: %v", p.host.name, err)
}
