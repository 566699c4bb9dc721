package versus

import (
	"context"
	"slices"

	"github.com/kvorum/kvorum/test/chaos/lab"
)

// loss is the part of the segments between peers that the fault named loss drops.
const loss = 0.05

// fault is one fault, which lasts until its heal.
type fault struct {
	name  string
	begin func(ctx context.Context, l lab.Lab, r roles) error
	heal  func(ctx context.Context, l lab.Lab, r roles) error
}

// roles are the hosts of a cluster by their roles when a fault begins.
type roles struct {
	leader    lab.Host
	follower  lab.Host // the host of the faults of a follower
	followers []lab.Host
}

// all returns all hosts.
func (r roles) all() []lab.Host { return append(slices.Clone(r.followers), r.leader) }

// faults are all of them, in the order of the table.
var faults = []fault{
	{"kill of a follower", killFollower, restart(follower)},
	{"kill of the leader", killLeader, restart(leader)},
	{"pause of the leader", pauseLeader, resumeLeader},
	{"partition of a follower", isolate(follower), healNetwork},
	{"partition of the leader", isolate(leader), healNetwork},
	{"5 % loss", loseSome, healNetwork},
}

// Faults returns the names of all faults.
func Faults() []string {
	var names []string
	for _, f := range faults {
		names = append(names, f.name)
	}
	return names
}

func leader(r roles) lab.Host   { return r.leader }
func follower(r roles) lab.Host { return r.follower }

func killFollower(ctx context.Context, _ lab.Lab, r roles) error { return r.follower.Kill(ctx) }
func killLeader(ctx context.Context, _ lab.Lab, r roles) error   { return r.leader.Kill(ctx) }
func pauseLeader(ctx context.Context, _ lab.Lab, r roles) error  { return r.leader.Pause(ctx) }
func resumeLeader(ctx context.Context, _ lab.Lab, r roles) error { return r.leader.Resume(ctx) }
func healNetwork(ctx context.Context, l lab.Lab, _ roles) error  { return l.Heal(ctx) }

// restart starts the process of one host again.
func restart(of func(roles) lab.Host) func(context.Context, lab.Lab, roles) error {
	return func(ctx context.Context, _ lab.Lab, r roles) error { return of(r).Start(ctx) }
}

// isolate cuts one host off from all others, in both directions.
func isolate(of func(roles) lab.Host) func(context.Context, lab.Lab, roles) error {
	return func(ctx context.Context, l lab.Lab, r roles) error {
		alone := of(r)
		for _, h := range r.all() {
			if h == alone {
				continue
			}
			if err := l.Cut(ctx, alone, h); err != nil {
				return err
			}
			if err := l.Cut(ctx, h, alone); err != nil {
				return err
			}
		}
		return nil
	}
}

// loseSome drops a part of the packets between all hosts.
func loseSome(ctx context.Context, l lab.Lab, r roles) error {
	for _, from := range r.all() {
		for _, to := range r.all() {
			if from == to {
				continue
			}
			if err := l.Shape(ctx, from, to, lab.Shape{Loss: loss}); err != nil {
				return err
			}
		}
	}
	return nil
}
