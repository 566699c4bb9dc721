package nemesis

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/kvorum/kvorum/test/chaos/lab"
)

// link is one direction between two hosts.
type link struct{ from, to lab.Host }

// partitionFaults returns the faults in which hosts don't hear each other at all.
func partitionFaults() []*Fault {
	lasts := span{time.Second, 5 * time.Second}
	cut := func(name string, row int, majority bool, draw func(a *Act, leader lab.Host, others []lab.Host) []link) *Fault {
		return &Fault{
			Name: name, Rows: []int{row}, Majority: majority, takes: network, spares: true, lasts: lasts, terms: 3,
			start: func(ctx context.Context, a *Act) error { return cutAs(ctx, a, draw) },
		}
	}
	faults := []*Fault{
		cut("cut a minority off", 8, true, minority),
		cut("cut the leader's minority off", 8, true, leadersMinority),
		cut("cut the leader off", 8, true, leaderAlone),
		cut("cut all off", 8, false, allAlone),
		cut("leader hears nobody", 9, true, leaderDeaf),
		cut("nobody hears the leader", 9, true, leaderMute),
		cut("a bridge between two halves", 10, true, bridge),
		cut("a ring", 10, false, ring),
		cut("cut a pair", 10, true, pair),
	}
	named(faults, "leader hears nobody").missing = noOneWay
	named(faults, "nobody hears the leader").missing = noOneWay
	named(faults, "a ring").missing = noRing
	return faults
}

// cutAs cuts the links that draw returns.
func cutAs(ctx context.Context, a *Act, draw func(a *Act, leader lab.Host, others []lab.Host) []link) error {
	leader, others, err := a.roles(ctx)
	if err != nil {
		return err
	}
	links := draw(a, leader, others)
	if len(links) == 0 {
		return fmt.Errorf("%w: no link to cut", errNobody)
	}
	a.undo(a.c.lab.Heal)
	for _, l := range links {
		if err := a.c.lab.Cut(ctx, l.from, l.to); err != nil {
			return err
		}
	}
	return nil
}

// roles returns the leader and the other members, two or more, those in random order. It
// waits while a change of the membership leaves fewer. It claims no host, because a network
// fault affects no process.
func (a *Act) roles(ctx context.Context) (leader lab.Host, others []lab.Host, err error) {
	err = poll(ctx, pickTimeout, func(context.Context) error {
		var ok bool
		if leader, ok = a.c.watch.Leader(); !ok {
			return fmt.Errorf("%w: no leader is known, for %v", errNobody, pickTimeout)
		}
		others = slices.DeleteFunc(a.c.Members(), func(h lab.Host) bool { return h == leader })
		if len(others) < 2 {
			return fmt.Errorf("%w: only %d members beside the leader, for %v", errNobody, len(others), pickTimeout)
		}
		return nil
	})
	a.rng.Shuffle(len(others), func(i, j int) { others[i], others[j] = others[j], others[i] })
	return leader, others, err
}

// both returns all links between two sides, in both directions.
func both(as, bs []lab.Host) (links []link) {
	return append(oneWay(as, bs), oneWay(bs, as)...)
}

// oneWay returns all links from one side to the other.
func oneWay(from, to []lab.Host) (links []link) {
	for _, f := range from {
		for _, t := range to {
			links = append(links, link{f, t})
		}
	}
	return links
}

// sides records the sides of a partition.
func (a *Act) sides(sides ...[]lab.Host) {
	var names []string
	for _, side := range sides {
		var of []string
		for _, h := range side {
			of = append(of, h.Name())
		}
		names = append(names, strings.Join(of, "+"))
	}
	a.say("%s", strings.Join(names, " | "))
}

func minority(a *Act, leader lab.Host, others []lab.Host) []link {
	few := others[:1+a.rng.IntN(len(others)/2)]
	a.hosts = few
	rest := append(slices.Clone(others[len(few):]), leader)
	a.sides(few, rest)
	return both(few, rest)
}

// leadersMinority returns the links that cut off the largest minority with the leader in
// it: of three, the leader.
func leadersMinority(a *Act, leader lab.Host, others []lab.Host) []link {
	n := len(others)/2 - 1
	a.hosts = append(slices.Clone(others[:n]), leader)
	a.sides(a.hosts, others[n:])
	return both(a.hosts, others[n:])
}

func leaderAlone(a *Act, leader lab.Host, others []lab.Host) []link {
	a.hosts = []lab.Host{leader}
	return both(a.hosts, others)
}

func allAlone(a *Act, leader lab.Host, others []lab.Host) (links []link) {
	a.hosts = append(slices.Clone(others), leader)
	for i, h := range a.hosts {
		links = append(links, both(a.hosts[:i], []lab.Host{h})...)
	}
	return links
}

func leaderDeaf(a *Act, leader lab.Host, others []lab.Host) []link {
	a.hosts = []lab.Host{leader}
	return oneWay(others, a.hosts)
}

func leaderMute(a *Act, leader lab.Host, others []lab.Host) []link {
	a.hosts = []lab.Host{leader}
	return oneWay(a.hosts, others)
}

// bridge returns the links that divide the members into two halves; only one follower hears
// both. The leader is in one half.
func bridge(a *Act, leader lab.Host, others []lab.Host) []link {
	half := len(others) / 2
	one, other := append(slices.Clone(others[1:half]), leader), others[half:]
	a.hosts = others[:1]
	a.sides(one, a.hosts, other)
	return both(one, other)
}

// ring returns the links between all members that are not neighbours in a ring. Of three
// members, each hears one of the others, which does not hear it.
func ring(a *Act, leader lab.Host, others []lab.Host) (links []link) {
	a.hosts = append(slices.Clone(others), leader)
	n := len(a.hosts)
	for i, from := range a.hosts {
		for j, to := range a.hosts {
			step := (j - i + n) % n
			if i == j || step == 1 || (n > 3 && step == n-1) {
				continue
			}
			links = append(links, link{from, to})
		}
	}
	return links
}

func pair(a *Act, leader lab.Host, others []lab.Host) []link {
	a.hosts = []lab.Host{leader, others[0]}
	return both(a.hosts[:1], a.hosts[1:])
}
