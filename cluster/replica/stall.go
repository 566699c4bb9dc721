package replica

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// errStalled is the reason of a node whose disk does not come back.
var errStalled = errors.New("a write to the log does not return")

// stallTick is the maximum time between two looks at the log.
const stallTick = time.Second

// watchLog makes this node silent while a write to the log hangs, and stops the node
// if that takes too long. Raft's heartbeats do not wait for the disk, so that a
// leader whose disk hangs would otherwise lead for ever without a commit
// (hashicorp/raft #503, #614, #666). The write itself has not failed, and may still
// succeed: so no caller is told that it failed.
func (r *Replica) watchLog(ctx context.Context) {
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
			r.fatal.Fail(fmt.Errorf("%w: for %v now", errStalled, stalled.Round(time.Millisecond)))
			return
		}
		if now := stalled >= timing.Stall; now != silent {
			silent = now
			r.peers.SetSilent(silent)
			r.log.Warn("the log's disk", "hangs", silent, "for", stalled)
		}
	}
}
