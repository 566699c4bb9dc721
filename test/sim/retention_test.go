package sim

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/kvorum/kvorum/kv"
)

// settingsEvery is the time between two attempts to set the settings of a cluster.
const settingsEvery = time.Second

// randomHistory draws how much history a cluster keeps. Snapshots have the history. The
// maximum is four times the largest threshold of a snapshot, as it is by default: if it were
// more, a follower on a narrow link would need each snapshot for longer than the log lasts.
func randomHistory(rng *rand.Rand) kv.Retention {
	return kv.Retention{
		MaxAge:       time.Duration(1+rng.IntN(30)) * time.Second,
		MaxRevisions: uint64(rng.IntN(2) * (1 + rng.IntN(500))),
		MaxBytes:     kv.MinHistoryBytes,
	}
}

// setHistory sets how much history the cluster keeps. It tries again until a node says that
// it is done, or the simulation ends: members of an older build do not understand it. Then it changes
// the quota, if the plan says so.
func (w *world) setHistory(stop <-chan struct{}) {
	rng := rand.New(rand.NewPCG(w.plan.seed, 99))
	settings := kv.Settings{History: randomHistory(rng)}
	for {
		if node, p := w.hosts[rng.IntN(len(w.hosts))].live(); node != nil {
			ctx, cancel := context.WithTimeout(p.ctx, 2*time.Second)
			err := node.SetSettings(ctx, settings)
			cancel()
			if err == nil {
				if w.plan.evicts {
					w.changeQuota(rng, settings, stop)
				}
				return
			}
		}
		select {
		case <-stop:
			return
		case <-w.broken:
			return
		case <-time.After(settingsEvery):
		}
	}
}
