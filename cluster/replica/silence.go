package replica

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/hashicorp/raft"
)

// silenceSpread is the part of the heartbeat timeout by which followers differ in the time at
// which they look whether their leader is silent, so that one of them is a candidate first.
const silenceSpread = 4

// electAlone makes raft elect this node now if it is the only voter. By itself raft
// waits for one to two heartbeat timeouts for a leader that can't exist.
func (r *Replica) electAlone() {
	voters := slices.DeleteFunc(r.Servers(), func(s raft.Server) bool { return s.Suffrage != raft.Voter })
	if len(voters) != 1 || voters[0].ID != r.id {
		return
	}
	if err := r.lookForLeader(); err != nil {
		r.log.Warn("raft does not look for its leader", "err", err)
	}
}

// watchSilence makes raft look whether its leader is silent, once it has been silent for the
// heartbeat timeout and a random part of it. By itself raft looks at moments that are one
// to two timeouts apart, so that it finds a silence after one to three timeouts, and two
// of three voters must find it before one is elected. The time for which a leader may be silent
// stays the same, because raft decides. Raft also continues to look at its own moments.
func (r *Replica) watchSilence(ctx context.Context) {
	if r.cfg.Seams.Patient {
		return
	}
	timeout := r.cfg.Timing.Heartbeat
	spread := timeout / silenceSpread
	for {
		if state, changed := r.leaders.Current(); state.Leader == r.id {
			select {
			case <-changed:
				continue
			case <-ctx.Done():
				return
			}
		}
		due := time.Now().Add(max(spread, timeout+rand.N(spread)-r.silence()))
		select {
		case <-time.After(time.Until(due)):
		case <-ctx.Done():
			return
		}
		// A process that was itself stopped first receives what has arrived meanwhile.
		if overslept := time.Since(due) > spread; overslept || r.silence() < timeout {
			continue
		}
		if err := r.lookForLeader(); err != nil {
			r.log.Warn("raft does not look for its leader", "err", err)
			return
		}
	}
}

// silence returns for how long this node, as a follower, has not heard its leader. It is
// 0 for one that leads or knows no leader: raft is at work then by itself.
func (r *Replica) silence() time.Duration {
	heard := r.raft.LastContact() // this comes first: a leader that is known later may have been heard later
	if _, leader := r.raft.LeaderWithID(); leader == "" || r.raft.State() != raft.Follower {
		return 0
	}
	return time.Since(heard)
}

// lookForLeader makes raft, as a follower, compare the time since it heard its leader with
// the heartbeat timeout now. Raft does so when that timeout becomes shorter. So it is made a
// nanosecond longer, and then as short as before.
func (r *Replica) lookForLeader() error {
	timing := r.raft.ReloadableConfig()
	longer := timing
	longer.HeartbeatTimeout++
	longer.ElectionTimeout++ // is never less
	if err := r.raft.ReloadConfig(longer); err != nil {
		return err
	}
	return r.raft.ReloadConfig(timing)
}
