package sim

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/kvorum/kvorum/kv"
)

// nemesis breaks a cluster. All methods except busy belong to one goroutine.
type nemesis struct {
	w   *world
	rng *rand.Rand

	mu      sync.Mutex
	want    map[*host]bool // guarded by mu; hosts that are members, or will be
	leaving map[*host]bool // guarded by mu; hosts that are being removed: true until they are removed, then false until their process has ended
}

func newNemesis(w *world) *nemesis {
	n := &nemesis{w: w, rng: rand.New(rand.NewPCG(w.plan.seed, 3)), want: map[*host]bool{}, leaving: map[*host]bool{}}
	for _, h := range w.hosts[:w.plan.nodes] {
		n.want[h] = true
	}
	return n
}

// run makes one fault after the other. Some are mended before the next one begins, others
// last longer.
func (n *nemesis) run(length time.Duration) {
	end := time.Now().Add(length)
	for time.Now().Before(end) {
		if !n.w.sleep(n.paced(500, 4000)) {
			return
		}
		f := n.w.plan.faults[n.rng.IntN(len(n.w.plan.faults))]
		n.w.trace.add("nemesis: %s", f.name)
		n.w.count.faults.Add(1)
		f.do(n)
		if !n.w.sleep(n.paced(200, 6000)) {
			return
		}
		if n.rng.IntN(3) > 0 {
			n.mend()
		}
	}
}

// between returns a random time between two numbers of milliseconds.
func (n *nemesis) between(low, high int) time.Duration {
	return time.Duration(low+n.rng.IntN(high-low)) * time.Millisecond
}

// paced is between, scaled by plan.pace.
func (n *nemesis) paced(low, high int) time.Duration {
	return time.Duration(n.w.plan.pace * float64(n.between(low, high)))
}

// mend ends all faults of network, disks and gossip, and starts all hosts that are down.
func (n *nemesis) mend() {
	n.w.trace.add("nemesis: mends")
	n.w.net.heal()
	n.w.hub.allSee()
	for _, h := range n.configured() {
		if _, p := h.live(); p != nil {
			p.disk.setSlow(time.Millisecond)
			p.disk.stop(0)
			p.disk.arm(0, nil)
		}
		h.start()
	}
}

// end mends all faults, and waits for the end of changes of the membership.
func (n *nemesis) end() {
	n.upgradeAll()
	n.mend()
	n.w.poll(healLimit, "members leave", n.left)
}

// members returns the hosts that are members, or will be.
func (n *nemesis) members() []*host {
	n.mu.Lock()
	defer n.mu.Unlock()
	var members []*host
	for _, h := range n.w.hosts {
		if n.want[h] {
			members = append(members, h)
		}
	}
	return members
}

// configured returns the members and the hosts that are not removed yet: a majority may
// need those, too.
func (n *nemesis) configured() []*host {
	all := n.members()
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, h := range n.w.hosts {
		if n.leaving[h] {
			all = append(all, h)
		}
	}
	return all
}

// any returns one of the members.
func (n *nemesis) any() *host {
	members := n.members()
	return members[n.rng.IntN(len(members))]
}

// leader returns a host whose node says that it leads, or any.
func (n *nemesis) leader() *host {
	for _, i := range n.rng.Perm(len(n.w.hosts)) {
		if node, _ := n.w.hosts[i].live(); node != nil && node.Status().Role == "leader" {
			return n.w.hosts[i]
		}
	}
	return n.any()
}

// victim returns the leader or any member.
func (n *nemesis) victim() *host {
	if n.rng.IntN(2) == 0 {
		return n.leader()
	}
	return n.any()
}

// converged returns nil when every host that should be a member lives, serves, and knows
// exactly the right members, voters and read replicas.
func (n *nemesis) converged() error {
	members := n.members()
	for _, h := range members {
		node, p := h.live()
		if node == nil {
			return fmt.Errorf("%s is down", h.name)
		}
		if err := node.Ready(); err != nil {
			return fmt.Errorf("%s is not ready: %w", h.name, err)
		}
		status := node.Status()
		if len(status.Members) != len(members) {
			return fmt.Errorf("%s knows the members %v", h.name, status.Members)
		}
		for i, m := range status.Members {
			if m.ID != members[i].name || m.Voter != members[i].votes() {
				return fmt.Errorf("%s knows the members %v", h.name, status.Members)
			}
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		_, err := n.w.do(ctx, node, p, kv.Put("probe", []byte(h.name)))
		cancel()
		if err != nil {
			return fmt.Errorf("%s: %w", h.name, err)
		}
	}
	return nil
}

// mayChange returns nil if the membership may be changed now: all earlier changes have
// ended.
func (n *nemesis) mayChange() error {
	if err := n.left(); err != nil {
		return err
	}
	return n.converged()
}

// left returns nil when all leaving hosts have left.
func (n *nemesis) left() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.leaving) > 0 {
		return fmt.Errorf("%d are still to be removed", len(n.leaving))
	}
	return nil
}

// wipe replaces a member's disk by an empty one, and starts the member again.
func (n *nemesis) wipe() {
	if n.mayChange() != nil {
		return
	}
	h := n.victim()
	if h.votes() && n.voters() < 3 {
		return // half of two is not a minority: the cluster would be lost for good
	}
	h.die(powerLost)
	h.wipe()
	h.chooseBuild()
	n.w.count.wipes.Add(1)
	n.w.trace.add("%s: disk wiped", h.name)
	n.w.sleep(n.between(100, 3000))
	h.start()
}

// voters returns the number of members that vote.
func (n *nemesis) voters() (voters int) {
	for _, h := range n.members() {
		if h.votes() {
			voters++
		}
	}
	return voters
}

// grow adds two hosts, now and then as read replicas.
func (n *nemesis) grow() { n.growBy(func() (votes bool) { return n.rng.IntN(3) != 0 }) }

// growBy adds two hosts, and calls votes to learn whether each one votes.
func (n *nemesis) growBy(votes func() bool) {
	if n.mayChange() != nil || len(n.members()) > n.w.plan.nodes {
		return
	}
	n.w.count.members.Add(1)
	for _, h := range n.w.hosts {
		n.mu.Lock()
		added := !n.want[h]
		n.want[h] = true
		n.mu.Unlock()
		if added {
			h.die(killed) // a late start after it was removed
			h.joinAs(!votes())
			h.start()
		}
	}
}

// shrink removes any two members, during other faults.
func (n *nemesis) shrink() {
	if n.mayChange() != nil || len(n.members()) == n.w.plan.nodes {
		return
	}
	n.w.count.members.Add(1)
	members := n.members()
	n.rng.Shuffle(len(members), func(i, j int) { members[i], members[j] = members[j], members[i] })
	chosen, linger, ghosts := members[:2], n.between(0, 5000), n.rng.IntN(2) == 0
	for _, h := range chosen {
		n.mu.Lock()
		delete(n.want, h)
		n.leaving[h] = true
		n.mu.Unlock()
		h.setLeaving(true)
	}
	n.w.after(0, func() {
		for _, h := range chosen {
			n.remove(h, linger, ghosts)
		}
	})
}

// remove asks until a host is removed, and turns it off some time later. If ghost is set,
// the host then starts once more with its old disk, which must not disturb the cluster.
func (n *nemesis) remove(h *host, linger time.Duration, ghost bool) {
	for tries := 0; ; tries++ {
		members := n.members()
		if node, p := members[tries%len(members)].live(); node != nil {
			ctx, cancel := context.WithTimeout(p.ctx, 3*time.Second)
			err := node.Leave(ctx, kv.LeaveRequest{ID: h.name})
			cancel()
			n.w.trace.add("%s leaves: %v", h.name, err)
			if err == nil || errors.Is(err, kv.ErrUnknownNode) {
				break
			}
		}
		if !n.w.sleep(200 * time.Millisecond) {
			return
		}
	}
	n.mu.Lock()
	n.leaving[h] = false
	n.mu.Unlock()
	n.w.sleep(linger)
	h.die(killed)
	if ghost {
		h.start()
		n.w.sleep(linger)
		h.die(killed)
	}
	// An earlier fault may have planned a start that is still to come. So the host's node may
	// find itself removed until it joins again.
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.leaving, h)
}
