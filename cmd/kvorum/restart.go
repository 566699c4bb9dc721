package main

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/kvorum/kvorum/cluster"
)

const (
	// firstRestartPause and maxRestartPause bound the pauses before restarts: a node
	// that ends again and again for a reason that a restart should correct must not
	// keep its machine, and its cluster's elections, busy.
	firstRestartPause = 200 * time.Millisecond
	maxRestartPause   = time.Minute
	// settledRun is how long a node must have run for its next restart to be a first one.
	settledRun = 5 * time.Minute
)

// restarting calls run again for as long as that corrects what ended it, after
// a pause that grows each time. A ctx that ends in a pause ends it at once: the
// node is down, so the result is nil.
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
