package main

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/kvorum/kvorum/cluster"
)

const (
	// firstRestartPause and maxRestartPause are the maximum of the first pause, and of any
	// pause, before a restart. A node may end repeatedly for a reason that a restart should
	// correct. It must not keep its machine and its cluster's elections busy.
	firstRestartPause = 200 * time.Millisecond
	maxRestartPause   = time.Minute
	// settledRun is how long a node must have run for the pauses to begin again.
	settledRun = 5 * time.Minute
)

// restarting calls run, and calls it again, after a pause that grows each time, as long as
// run ends with cluster.ErrRestart. If ctx ends during a pause, restarting returns nil at
// once: the node is down already.
func restarting(ctx context.Context, log *slog.Logger, run func() error) error {
	pauses := newBackoff(firstRestartPause, maxRestartPause)
	for {
		began := time.Now()
		err := run()
		if !errors.Is(err, cluster.ErrRestart) {
			return err
		}
		if time.Since(began) >= settledRun {
			pauses = newBackoff(firstRestartPause, maxRestartPause)
		}
		pause := pauses.NextBackOff()
		log.Warn("node is restarted", "reason", oneLine(err), "in", pause.Round(time.Millisecond))
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			log.Info("node stops", "cause", context.Cause(ctx).Error())
			return nil
		}
	}
}
