package cluster

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/hashicorp/raft"
)

// silenceSpread is the part of the heartbeat timeout by which followers differ in when
// they look whether their leader is silent, so that one of them is a candidate first.
const silenceSpread = 4

// electAlone has raft elect this node now where it is the only voter. By itself raft
// waits for the heartbeat timeout and up to once more, for a leader that can't be.
func (r *replica) electAlone() {
	voters := slices.DeleteFunc(r.servers(), func(s raft.Server) bool { return s.Suffrage != raft.Voter })
	if len(voters) != 1 || voters[0].ID != r.id {
		return
	}
	if err := r.lookForLeader(); err != nil {
		r.log.Warn("raft does not look for its leader", "err", err)
	}
}

// watchSilence has raft look whether its leader is silent when that has been so for the
// heartbeat timeout and a random part of it. By itself raft looks at moments that are one
// to two timeouts apart, so that it finds a silence after one to three of them, and two
// of three voters must find it before one is elected. How long a leader may be silent
// stays the same: raft decides, and its own moments stay, too.
func (r *replica) watchSilence(ctx context.Context) {
	if r.cfg.patient {
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
		// A process that stood still itself hears first what has come meanwhile.
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
func (r *replica) silence() time.Duration {
	heard := r.raft.LastContact() // first: a leader that is known later may have been heard later
	if _, leader := r.raft.LeaderWithID(); leader == "" || r.raft.State() != raft.Follower {
		return 0
	}
	return time.Since(heard)
}

// lookForLeader has raft, as a follower, compare the time since it heard its leader with
// the heartbeat timeout now. It does so when that timeout becomes shorter, which it does
// here by no more than what it was lengthened by before.
func (r *replica) lookForLeader() error {
	timing := r.raft.ReloadableConfig()
	longer := timing
	longer.HeartbeatTimeout++
	longer.ElectionTimeout++ // is never less
	if err := r.raft.ReloadConfig(longer); err != nil {
		return err
	}
	return r.raft.ReloadConfig(timing)
}
