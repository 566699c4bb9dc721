package nemesis

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/kvorum/kvorum/test/chaos/lab"
)

const (
	// pickTimeout is the maximum wait for a known leader, for a fault of the leader.
	pickTimeout = 4 * time.Second
	// undoTimeout is the maximum time of each step of a heal.
	undoTimeout = 90 * time.Second
)

// errNobody is returned if no host is left, or in the role, for a fault.
var errNobody = errors.New("nobody to do it to")

// Act is one occurrence of a fault. Its methods belong to one goroutine.
type Act struct {
	fault *Fault
	c     *Cluster
	rng   *rand.Rand

	hosts   []lab.Host // that it is on
	details []string
	undos   []func(context.Context) error // newest last
}

// undo makes heal call do, before all functions that undo got earlier.
func (a *Act) undo(do func(context.Context) error) { a.undos = append(a.undos, do) }

// heal undoes the changes of start, the newest first, also if ctx has ended. It tries each
// one, even after an error.
func (a *Act) heal(ctx context.Context) error {
	var errs []error
	for _, do := range slices.Backward(a.undos) {
		step, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
		errs = append(errs, do(step))
		cancel()
	}
	a.undos = nil
	return errors.Join(errs...)
}

// say adds to the description of the act.
func (a *Act) say(format string, args ...any) {
	a.details = append(a.details, fmt.Sprintf(format, args...))
}

func (a *Act) detail() string { return strings.Join(a.details, ", ") }

// names returns the names of the hosts that the act is on.
func (a *Act) names() []string {
	names := make([]string, 0, len(a.hosts))
	for _, h := range a.hosts {
		names = append(names, h.Name())
	}
	return names
}

// between returns a random time between two, rounded to a millisecond.
func (a *Act) between(least, most time.Duration) time.Duration {
	return span{least, most}.draw(a.rng)
}

// draw returns a random time within the span, rounded to a millisecond.
func (s span) draw(rng *rand.Rand) time.Duration {
	return (s.least + time.Duration(rng.Int64N(int64(s.most-s.least)+1))).Round(time.Millisecond)
}

// leader claims the host that leads. If another fault has that host, it waits for the next
// leader.
func (a *Act) leader(ctx context.Context) (lab.Host, error) {
	return a.claim(ctx, "the leader", func(leader lab.Host, free []lab.Host) lab.Host {
		if slices.Contains(free, leader) {
			return leader
		}
		return nil
	})
}

// follower claims a host that follows.
func (a *Act) follower(ctx context.Context) (lab.Host, error) {
	return a.claim(ctx, "a follower", func(leader lab.Host, free []lab.Host) lab.Host {
		free = slices.DeleteFunc(free, func(h lab.Host) bool { return h == leader })
		if len(free) == 0 {
			return nil
		}
		return free[a.rng.IntN(len(free))]
	})
}

// victim claims the leader, or a follower, by chance.
func (a *Act) victim(ctx context.Context) (lab.Host, error) {
	if a.rng.IntN(2) == 0 {
		return a.leader(ctx)
	}
	return a.follower(ctx)
}

// everyone claims all members, except those of a change of the membership.
func (a *Act) everyone() []lab.Host {
	a.hosts = a.c.takeAll(a.fault)
	return a.hosts
}

// claim takes a host without another fault. It waits until a leader is known and choose
// returns a host.
func (a *Act) claim(ctx context.Context, whom string, choose func(leader lab.Host, free []lab.Host) lab.Host) (lab.Host, error) {
	var chosen lab.Host
	err := poll(ctx, pickTimeout, func(context.Context) error {
		leader, ok := a.c.watch.Leader()
		if !ok {
			return fmt.Errorf("%w: no leader is known, for %v", errNobody, pickTimeout)
		}
		if chosen = a.c.takeOne(a.fault, func(free []lab.Host) lab.Host { return choose(leader, free) }); chosen == nil {
			return fmt.Errorf("%w: another fault has %s", errNobody, whom)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	a.hosts = append(a.hosts, chosen)
	return chosen, nil
}

// each does something to all hosts at the same time.
func each(hosts []lab.Host, do func(lab.Host) error) error {
	errs := make([]error, len(hosts))
	var all sync.WaitGroup
	for i, h := range hosts {
		all.Go(func() { errs[i] = do(h) })
	}
	all.Wait()
	return errors.Join(errs...)
}

// sleep waits, unless ctx ends first.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// pollTick is the time between two calls of cond in poll.
const pollTick = 50 * time.Millisecond

// poll calls cond until it returns nil. After limit it returns cond's error, and when
// ctx ends that of ctx, too.
func poll(ctx context.Context, limit time.Duration, cond func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		err := cond(ctx)
		if err == nil {
			return nil
		}
		if sleep(ctx, pollTick) != nil {
			if ctx.Err() == context.DeadlineExceeded {
				return err
			}
			return errors.Join(err, context.Cause(ctx))
		}
	}
}
