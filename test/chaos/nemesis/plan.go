package nemesis

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// step is the faults that a plan begins at the same time.
type step struct {
	faults []*Fault
	lasts  []time.Duration // duration of each fault, until its heal
	seed   uint64          // of the faults' random choices
}

// String names the faults of the step.
func (s step) String() string {
	names := make([]string, 0, len(s.faults))
	for i, f := range s.faults {
		names = append(names, fmt.Sprintf("%s (%v)", f.Name, s.lasts[i]))
	}
	return strings.Join(names, " + ")
}

// plan is an endless sequence of steps. Two of one seed, with the same faults, are the
// same. Each fault comes once before any comes again.
type plan struct {
	rng    *rand.Rand
	faults []*Fault
	nodes  int
	atOnce int // 1 to 3

	rest  []*Fault // remaining faults of this turn, in order
	again []*Fault // faults that could not be made; each is tried once more, alone
}

// longTurns is the average number of turns per occurrence of a long fault.
const longTurns = 3

// newPlan returns the plan of a seed for a cluster of that many nodes.
func newPlan(seed uint64, faults []*Fault, nodes, atOnce int) *plan {
	return &plan{rng: rand.New(rand.NewPCG(seed, 11)), faults: faults, nodes: nodes, atOnce: atOnce}
}

// next returns the next step.
func (p *plan) next() step {
	if len(p.again) > 0 {
		f := p.again[0]
		p.again = p.again[1:]
		return step{[]*Fault{f}, []time.Duration{f.lasts.draw(p.rng)}, p.rng.Uint64()}
	}
	want := 1
	if p.atOnce > 1 {
		want = min([]int{1, 1, 2, 2, 2, 3}[p.rng.IntN(6)], p.atOnce)
	}
	var s step
	for len(s.faults) < want {
		f := p.take(s.faults)
		if f == nil {
			break
		}
		s.faults = append(s.faults, f)
		s.lasts = append(s.lasts, f.lasts.draw(p.rng))
	}
	s.seed = p.rng.Uint64()
	return s
}

// take returns the first remaining fault that may be made beside others, nil for none. For
// an empty step it begins a new turn if no fault remains.
func (p *plan) take(others []*Fault) *Fault {
	if len(p.rest) == 0 && len(others) == 0 {
		p.turn()
	}
	for i, f := range p.rest {
		if f.with(others, p.nodes) {
			p.rest = append(p.rest[:i:i], p.rest[i+1:]...)
			return f
		}
	}
	return nil
}

// turn begins a new turn with every fault. It includes a long fault by chance, or if there
// is no other.
func (p *plan) turn() {
	for len(p.rest) == 0 {
		for _, f := range p.faults {
			if !f.long || p.rng.IntN(longTurns) == 0 {
				p.rest = append(p.rest, f)
			}
		}
	}
	p.rng.Shuffle(len(p.rest), func(i, j int) { p.rest[i], p.rest[j] = p.rest[j], p.rest[i] })
}
