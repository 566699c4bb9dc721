package sim

import (
	"errors"
	"testing"
	"time"
)

// TestScenario plays the work of operators on a cluster under load, with all checks of
// every simulation.
func TestScenario(t *testing.T) {
	early := map[string]bool{"KilledBeforeAccepting": true}
	for name, play := range map[string]func(*nemesis){
		"200Transfers":          transfer200,
		"KilledBeforeAccepting": killedBeforeAccepting,
		"GrowReplaceShrink":     growReplaceShrink,
		"AllAddressesChange":    allAddressesChange,
		"DataDirsCopied":        dataDirsCopied,
		"TailLostBehindMark":    tailLostBehindMark,
	} {
		t.Run(name, func(t *testing.T) {
			total, began := totals{}, time.Now()
			p := randomPlan(newSeed())
			p.nodes, p.clients, p.pause, p.early, p.moves = 3, 6, 10*time.Millisecond, early[name], true
			if raceEnabled {
				p.pause *= 3 // fewer operations
			}
			p.script = play
			if found, report := total.simulate(t, p); found != "" {
				t.Errorf("seed %d: %s; before that:\n%s", p.seed, found, report)
			}
			t.Log(total.String(time.Since(began)))
		})
	}
}

// killedBeforeAccepting kills a node just before it stores the cluster that it belongs to.
// It comes back as a server that the plan of that cluster does not have.
func killedBeforeAccepting(n *nemesis) {
	n.w.sleep(150 * time.Millisecond) // longer than a start, shorter than making a plan
	victim := n.w.hosts[2]
	if _, p := victim.live(); p != nil {
		p.dieAt(1, killed)
	}
	n.w.poll(formLimit, "die", func() error {
		if _, p := victim.live(); p != nil {
			return errors.New("it lives")
		}
		return nil
	})
	n.w.sleep(time.Second)
	victim.start()
	n.w.poll(formLimit, "form a cluster", n.converged)
}

// transfer200 hands leadership over again and again, half of the times while answers to the
// old leader are late. Writes continue.
func transfer200(n *nemesis) {
	n.w.sleep(2 * time.Second)
	for done := 0; done < fewer(200, 20); {
		before := n.leader()
		if n.rng.IntN(2) == 0 {
			n.slowTowards(before, 20, 80)
		}
		n.transfer()
		if !n.w.sleep(n.between(50, 300)) {
			return
		}
		n.w.net.heal()
		if !n.w.poll(healLimit, "a leader after a transfer", n.converged) {
			return
		}
		if n.leader() != before {
			done++
		}
	}
	if gap := n.w.hist.LongestGap(); gap > 2*time.Second {
		n.w.violate("no write was acknowledged for %v", gap)
	}
}

// growReplaceShrink takes a cluster from three nodes to five, restarts two of these with
// empty disks, and goes back to three. A node that comes without data may have the older
// build. If newer commands were written, it is added only once it is upgraded.
func growReplaceShrink(n *nemesis) {
	for _, change := range []func(){n.grow, n.wipe, n.wipe, n.shrink} {
		if !n.w.sleep(5*time.Second) || !n.w.poll(healLimit, "settle", n.mayChange) {
			return
		}
		change()
		n.w.sleep(time.Second)
		n.upgradeAll()
	}
	n.w.poll(healLimit, "settle", n.mayChange)
}

// allAddressesChange restarts all nodes at other addresses, first one by one and then all
// at once.
func allAddressesChange(n *nemesis) {
	n.w.sleep(2 * time.Second)
	n.rolling()
	for range 3 {
		n.all(killed)
		n.mend()
		if !n.w.poll(healLimit, "serve at new addresses", n.converged) {
			return
		}
	}
}

// dataDirsCopied runs a copy of each node beside it until the copy stops by itself. The
// node continues.
func dataDirsCopied(n *nemesis) {
	n.w.sleep(2 * time.Second)
	for range 3 {
		for _, h := range n.members() {
			twin := h.twin()
			if twin == nil {
				n.w.violate("%s does not live", h.name)
				return
			}
			twin.start()
			if !n.w.poll(healLimit, "the copy of "+h.name+" stops", func() error {
				if _, p := twin.live(); p != nil {
					return errors.New("it lives")
				}
				return nil
			}) || !n.w.poll(healLimit, "the others continue", n.converged) {
				return
			}
		}
	}
}

// TestFormation forms a cluster while a node ends just before one of the changes of its
// disk, and comes back. It tries a random part of the changes, or all of them with
// -sim.all.
func TestFormation(t *testing.T) {
	total, began := totals{}, time.Now()
	step := 10
	switch {
	case *allFlag:
		step = 1
	case raceEnabled:
		step = 100
	}
	first := 1 + int(began.UnixNano()%int64(step))
	for _, how := range []death{killed, powerLost} {
		for victim := range 2 { // the node that plans the cluster, and another
			for at := first; ; at += step {
				struck := false
				p := randomPlan(uint64(at))
				p.nodes, p.clients, p.early = 3, 0, true
				p.script = func(n *nemesis) {
					if _, proc := n.w.hosts[victim].live(); proc != nil {
						proc.dieAt(at, how)
					}
					n.w.poll(formLimit, "form a cluster, or die", func() error {
						if _, proc := n.w.hosts[victim].live(); proc == nil {
							struck = true
							return nil
						}
						return n.converged()
					})
				}
				if found, report := total.simulate(t, p); found != "" {
					t.Fatalf("n%d ends at change %d (%v): %s; before that:\n%s", victim+1, at, how, found, report)
				}
				if !struck {
					break
				}
			}
		}
	}
	t.Log(total.String(time.Since(began)))
}
