package sim

import (
	"errors"
	"testing"
	"time"
)

// TestScenario plays what operators do to a cluster under load. All that is
// checked of any simulation is checked of these too.
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
			p.script = play
			if found, report := total.simulate(t, p); found != "" {
				t.Errorf("seed %d: %s; before that:\n%s", p.seed, found, report)
			}
			t.Log(total.String(time.Since(began)))
		})
	}
}

// killedBeforeAccepting has a node die when it is about to write down which
// cluster it belongs to. It comes back as somebody whom the plan of that cluster
// does not know.
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

// transfer200 hands leadership over again and again, half of the times while
// what the old leader is told comes late. Writes go on.
func transfer200(n *nemesis) {
	n.w.sleep(2 * time.Second)
	for done := int64(0); done < 200; {
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

// growReplaceShrink takes a cluster from three nodes to five, has two of these
// come back with empty disks, and goes back to three.
func growReplaceShrink(n *nemesis) {
	for _, change := range []func(){n.grow, n.wipe, n.wipe, n.shrink} {
		if !n.w.sleep(5*time.Second) || !n.w.poll(healLimit, "settle", n.mayChange) {
			return
		}
		change()
	}
	n.w.poll(healLimit, "settle", n.mayChange)
}

// allAddressesChange has all nodes come back at other addresses, first one by
// one and then all at once.
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

// dataDirsCopied runs a copy of each node beside it, for as long as it lives: the
// copy stops by itself, and the node goes on.
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
			}) || !n.w.poll(healLimit, "the others go on", n.converged) {
				return
			}
		}
	}
}

// TestFormation forms a cluster while a node ends just before one of the changes
// that it makes to its disk meanwhile, and comes back. It tries some of the
// changes, others at each run, or with -sim.all every one of them.
func TestFormation(t *testing.T) {
	total, began := totals{}, time.Now()
	step := 10
	if *allFlag {
		step = 1
	}
	first := 1 + int(began.UnixNano()%int64(step))
	for _, how := range []death{killed, powerLost} {
		for victim := range 2 { // the one that plans the cluster, and another
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
