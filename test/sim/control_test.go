package sim

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/fsm"
	"github.com/kvorum/kvorum/kv"
)

// controlLimit is the maximum number of simulations until the fault of a broken cluster is
// found. It is not a time, so that other work on the machine does not matter.
const controlLimit = 20

// control is a cluster that is broken on purpose.
type control struct {
	change func(*plan)
	want   string // a part of the violation; "" is any, except that something took too long
}

// controls are broken clusters, by the names of what is broken.
var controls = map[string]control{
	"StoreWithoutSync": {change: func(p *plan) { p.forgetful, p.faults = true, powerLoss }},
	"TailLostWithoutMark": {change: func(p *plan) {
		p.ignoreEnd, p.faults, p.pace = true, tailLosses[1:], 0.2
	}},
	"LeaderLocalReads": {change: func(p *plan) {
		p.leaderReads = true
		p.faults, p.pace, p.pause = lateAcks, 0.2, 5*time.Millisecond
	}},
	"ReplicaCounted": {change: func(p *plan) {
		p.countAsker = func(bool, uint64, uint64) bool { return true }
		p.faults, p.pace, p.pause = lateReplicas, 0.2, 5*time.Millisecond
	}},
	"VersionsIgnored": {change: func(p *plan) {
		p.mixBuilds()
		p.allowVersion = func(uint8) error { return nil }
	}},
	"LeadersOwnClock": {
		change: func(p *plan) { p.builds, p.clients, p.ownClock, p.script = false, 2, true, wrongClocks },
		want:   "its end",
	},
	"LeaderNotDurable": {change: func(p *plan) {
		p.hasty, p.faults, p.pace, p.pause = true, slowLeader, 0.2, 5*time.Millisecond
	}},
	"VerifyLeader": {change: func(p *plan) {
		p.confirm = func(r *raft.Raft) error { return r.VerifyLeader().Error() }
		p.faults, p.pace, p.pause = lateAcks, 0.2, 5*time.Millisecond
	}},
	"EventDropped": {
		change: func(p *plan) { p.faults, p.length, p.breakWatch = transfers, shortControl, dropEvent },
		want:   "differ from those that watches tell",
	},
	"RevisionSplit": {
		change: func(p *plan) { p.faults, p.length, p.breakWatch = transfers, shortControl, splitRevision },
		want:   "in two parts",
	},
	"CompareAfterEarlier": {
		change: func(p *plan) {
			p.faults, p.length = transfers, shortControl
			p.state = func(string) fsm.Seams { return fsm.Seams{LateCompares: true} }
		},
		want: "differs from the model's",
	},
	"ExpiredShown": {
		change: func(p *plan) {
			p.faults, p.pace, p.pause = transfers, 0.2, 5*time.Millisecond
			p.state = func(host string) fsm.Seams { return fsm.Seams{ShowExpired: host == "n2"} }
		},
		want: "after its deadline",
	},
	"CompactElsewhere": {
		change: func(p *plan) {
			p.faults, p.length = transfers, shortControl
			p.state = func(host string) (s fsm.Seams) {
				if host == "n2" {
					s.Compact = func(revision uint64) uint64 { return revision - 1 }
				}
				return s
			}
		},
		want: "has compact revision",
	},
	"LeasesNotRearmed": {
		change: func(p *plan) {
			p.faults, p.pace, p.pause, p.builds = transfers, 0.2, 5*time.Millisecond, false
			p.rearm = func(time.Duration) time.Duration { return -1500 * time.Millisecond }
		},
		want: "after it was kept alive",
	},
	"AnswersForgotten": {
		change: func(p *plan) {
			p.faults, p.length, p.builds = transfers, shortControl, false
			p.state = func(string) fsm.Seams { return fsm.Seams{ForgetAnswers: true} }
		},
		want: "increment",
	},
	"ReplicaEvictsNothing": {change: func(p *plan) {
		p.faults, p.length, p.builds, p.evicts = transfers, shortControl, false, true
		p.state = func(host string) fsm.Seams { return fsm.Seams{KeepEvicted: host == "n2"} }
	}},
	"ReplicaForgetsAnswers": {
		change: func(p *plan) {
			p.faults, p.length, p.builds = transfers, shortControl, false
			p.state = func(host string) fsm.Seams { return fsm.Seams{ForgetAnswers: host == "n2"} }
		},
	},
}

// shortControl is the simulated time of controls that need no faults to be found.
const shortControl = 15 * time.Second

// dropEvent makes a watch, on each node, omit a change of some revisions.
func dropEvent(w kv.Watch) kv.Watch {
	return &brokenWatch{Watch: w, change: func(b kv.WatchBatch) (first, second kv.WatchBatch) {
		if len(b.Events) > 1 && b.Revision%5 == 0 {
			b.Events = b.Events[1:]
		}
		return b, kv.WatchBatch{}
	}}
}

// splitRevision makes a watch deliver the changes of a revision in two parts.
func splitRevision(w kv.Watch) kv.Watch {
	return &brokenWatch{Watch: w, change: func(b kv.WatchBatch) (first, second kv.WatchBatch) {
		if len(b.Events) < 2 {
			return b, kv.WatchBatch{}
		}
		first, second = b, b
		first.Events, second.Events = b.Events[:1], b.Events[1:]
		return first, second
	}}
}

// brokenWatch is a watch that delivers something else than it should.
type brokenWatch struct {
	kv.Watch
	change func(kv.WatchBatch) (first, second kv.WatchBatch) // second has no events if there is none
	rest   kv.WatchBatch                                     // to be delivered next, if it has events
}

// Next implements kv.Watch.
func (w *brokenWatch) Next(ctx context.Context) (kv.WatchBatch, error) {
	if rest := w.rest; len(rest.Events) > 0 {
		w.rest = kv.WatchBatch{}
		return rest, nil
	}
	b, err := w.Watch.Next(ctx)
	if err != nil || b.Kind != kv.WatchChanges {
		return b, err
	}
	first, second := w.change(b)
	w.rest = second
	return first, nil
}

// TestControl shows that the simulation finds faults: it breaks a cluster on purpose, and
// passes when the promise is found broken.
func TestControl(t *testing.T) {
	if testing.Short() || raceEnabled {
		t.Skip("takes some simulations for each control, and looks for no race")
	}
	for name, c := range controls {
		t.Run(name, func(t *testing.T) {
			total, began := totals{}, time.Now()
			for seed := uint64(1); ; seed++ {
				p := randomPlan(seed)
				p.nodes, p.early = 3, false
				c.change(&p)
				found, _ := total.simulate(t, p)
				// A cluster that only does not serve is not enough.
				if found != "" && !strings.Contains(found, tooLate) && strings.Contains(found, c.want) {
					t.Logf("found after %.1f s: %s; %s", time.Since(began).Seconds(), found, total.String(time.Since(began)))
					return
				}
				if total.runs == controlLimit {
					t.Fatalf("not found: %s", total.String(time.Since(began)))
				}
			}
		})
	}
}
