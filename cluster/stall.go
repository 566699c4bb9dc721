package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// errStalled is the reason a node stops with when its disk does not come back.
var errStalled = errors.New("a write to the log does not return")

// stallTick is how often the log is looked at, at most.
const stallTick = time.Second

// watchLog makes this node silent while a write to the log hangs, and stops it
// when that takes too long. Raft's heartbeats do not wait for the disk, so that a
// leader whose disk hangs would else lead for ever without committing anything
// (hashicorp/raft #503, #614, #666). It is no error of the write: that may still
// come to land, so nothing is told that it failed.
func (r *replica) watchLog(ctx context.Context) {
	timing := r.cfg.Timing
	tick := time.NewTicker(min(stallTick, timing.Stall/4))
	defer tick.Stop()
	silent := false
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		var stalled time.Duration
		if since := r.logs.Stats().WriteSince; !since.IsZero() {
			stalled = time.Since(since)
		}
		if stalled >= timing.StallFatal {
			r.fatal.fail(fmt.Errorf("%w: for %v now", errStalled, stalled.Round(time.Millisecond)))
			return
		}
		if now := stalled >= timing.Stall; now != silent {
			silent = now
			r.peers.SetSilent(silent)
			r.log.Warn("the log's disk", "hangs", silent, "for", stalled)
		}
	}
}
