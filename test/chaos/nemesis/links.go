package nemesis

import (
	"context"
	"time"

	"github.com/kvorum/kvorum/test/chaos/lab"
)

// slowLink is the narrow link of the table of faults: 1 Mbit/s.
const slowLink = 1_000_000 / 8

// linkFaults returns the faults of a bad network. Timings may not hold then, so none of
// them has Majority.
func linkFaults() []*Fault {
	shape := func(name string, draw func(a *Act) lab.Shape) *Fault {
		return &Fault{
			Name: name, Rows: []int{11}, takes: network, spares: true, lasts: span{2 * time.Second, 6 * time.Second}, terms: 6,
			start: func(ctx context.Context, a *Act) error { return shapeSome(ctx, a, draw(a)) },
		}
	}
	faults := []*Fault{
		shape("loss", func(a *Act) lab.Shape {
			loss := 1 + a.rng.IntN(30)
			a.say("%d %%", loss)
			return lab.Shape{Loss: float64(loss) / 100}
		}),
		shape("delay", func(a *Act) lab.Shape {
			delay := a.between(time.Millisecond, 500*time.Millisecond)
			if a.rng.IntN(2) == 0 {
				delay = a.between(time.Millisecond, 60*time.Millisecond)
			}
			jitter := a.between(0, delay/2)
			a.say("%v ± %v", delay, jitter)
			return lab.Shape{Delay: delay, Jitter: jitter}
		}),
		shape("reordering", func(a *Act) lab.Shape {
			reorder, delay := 1+a.rng.IntN(30), a.between(time.Millisecond, 20*time.Millisecond)
			a.say("%d %%, %v", reorder, delay)
			return lab.Shape{Reorder: float64(reorder) / 100, Delay: delay}
		}),
		shape("a link of 1 Mbit/s", func(*Act) lab.Shape { return lab.Shape{BytesPerSecond: slowLink} }),
		{Name: "late answers to a leader that hands over", Rows: []int{12}, Majority: true, takes: network, spares: true,
			lasts: span{500 * time.Millisecond, 2 * time.Second}, terms: 2, start: lateTransfer},
	}
	for _, f := range faults[1:] { // all except loss
		f.missing = noShape
	}
	named(faults, "reordering").missing = noReordering
	return faults
}

// shapeSome shapes all links, or those of one host, by chance.
func shapeSome(ctx context.Context, a *Act, how lab.Shape) error {
	leader, others, err := a.roles(ctx)
	if err != nil {
		return err
	}
	all := append(others, leader)
	var links []link
	if one := a.rng.IntN(2 * len(all)); one < len(all) {
		a.hosts = []lab.Host{all[one]}
		links = both(a.hosts, append(all[:one:one], all[one+1:]...))
	} else {
		a.hosts = all
		for i, h := range all {
			links = append(links, both(all[:i], []lab.Host{h})...)
		}
	}
	return shapeLinks(ctx, a, links, how)
}

// shapeLinks shapes links until the heal.
func shapeLinks(ctx context.Context, a *Act, links []link, how lab.Shape) error {
	a.undo(a.c.lab.Heal)
	for _, l := range links {
		if err := a.c.lab.Shape(ctx, l.from, l.to, how); err != nil {
			return err
		}
	}
	return nil
}

// lateTransfer delays only the messages from the others to the leader, and makes it hand
// leadership over.
func lateTransfer(ctx context.Context, a *Act) error {
	leader, others, err := a.roles(ctx)
	if err != nil {
		return err
	}
	a.hosts = []lab.Host{leader}
	delay := a.between(50*time.Millisecond, 150*time.Millisecond)
	a.say("%v", delay)
	if err := shapeLinks(ctx, a, oneWay(others, a.hosts), lab.Shape{Delay: delay}); err != nil {
		return err
	}
	return a.c.transfer(ctx, leader)
}
