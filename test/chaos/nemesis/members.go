package nemesis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/kvorum/kvorum/test/chaos/lab"
)

// joinTimeout is the maximum wait until a started host is a voter.
const joinTimeout = 30 * time.Second

// memberFaults returns the actions of operators, and the loss of a disk.
func memberFaults() []*Fault {
	gone := []string{"has left its cluster", "no longer a member", "was removed from its cluster"}
	return []*Fault{
		{Name: "hand leadership over", Rows: []int{27}, Majority: true, spares: true, terms: 1,
			start: func(ctx context.Context, a *Act) error {
				leader, _, err := a.roles(ctx)
				if err != nil {
					return err
				}
				a.hosts = []lab.Host{leader}
				return a.c.transfer(ctx, leader)
			}},
		{Name: "grow by two and shrink", Rows: []int{26}, Majority: true, May: gone, takes: members, lasts: span{time.Second, 4 * time.Second}, terms: 2,
			missing: noSpare, start: grow},
		{Name: "replace a member", Rows: []int{26}, Majority: true, May: gone, takes: oneHost | members, lasts: span{0, time.Second}, terms: 2, start: replace},
		{Name: "wipe a disk", Rows: []int{4}, Majority: true, takes: oneHost | members, lasts: span{500 * time.Millisecond, 3 * time.Second}, terms: 1, start: wipe},
		{Name: "install a snapshot", Rows: []int{24}, Majority: true, takes: oneHost, lasts: span{100 * time.Millisecond, time.Second}, terms: 1, start: install},
	}
}

// transfer makes a leader hand leadership over to any voter.
func (c *Cluster) transfer(ctx context.Context, leader lab.Host) error {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	return c.admin(ctx, leader, "transfer", "")
}

// grow adds all hosts that are not members, up to two. The heal removes them again.
func grow(ctx context.Context, a *Act) error {
	members := a.c.Members()
	for _, h := range a.c.lab.Hosts() {
		if slices.Contains(members, h) || len(a.hosts) == 2 {
			continue
		}
		a.hosts = append(a.hosts, h)
		a.c.take(h, a.fault)
		a.undo(func(ctx context.Context) error { return a.c.dismiss(ctx, h) })
		a.c.watch.Forget(h)
		a.c.admit(h, true)
		if err := h.Start(ctx); err != nil {
			return err
		}
		if err := a.c.joined(ctx, h); err != nil {
			return err
		}
	}
	return nil
}

// joined waits until a host knows itself as a voter.
func (c *Cluster) joined(ctx context.Context, h lab.Host) error {
	return poll(ctx, joinTimeout, func(ctx context.Context) error {
		s, err := c.status(ctx, h)
		if err != nil {
			return err
		}
		if !votes(s, h) {
			return fmt.Errorf("%s does not vote: %+v", h.Name(), s.Members)
		}
		return nil
	})
}

// dismiss removes a host from the cluster, ends its process, and empties its disk. It
// removes it again once it is down: it may have joined in between.
func (c *Cluster) dismiss(ctx context.Context, h lab.Host) error {
	err := c.remove(ctx, h)
	return errors.Join(err, h.Kill(ctx), c.remove(ctx, h), h.Wipe(ctx))
}

// replace makes a member leave, and starts it again with an empty disk.
func replace(ctx context.Context, a *Act) error {
	h, err := a.victim(ctx)
	if err != nil {
		return err
	}
	a.undo(func(ctx context.Context) error {
		err := a.c.dismiss(ctx, h)
		a.c.watch.Forget(h)
		a.c.admit(h, true)
		return errors.Join(err, h.Start(ctx))
	})
	return a.c.remove(ctx, h)
}

// wipe removes the data of a member.
func wipe(ctx context.Context, a *Act) error {
	h, err := a.victim(ctx)
	if err != nil {
		return err
	}
	a.undo(h.Start)
	if err := h.Kill(ctx); err != nil {
		return err
	}
	a.c.watch.Forget(h)
	return h.Wipe(ctx)
}

const (
	// fillers is the number of clients that write until a log is longer than the part that
	// a snapshot leaves of it.
	fillers = 16
	// installTimeout is the maximum time for that.
	installTimeout = 20 * time.Second
)

// install ends a follower, and makes the others write and drop so much log that the
// follower needs a snapshot.
func install(ctx context.Context, a *Act) error {
	h, err := a.follower(ctx)
	if err != nil {
		return err
	}
	before, err := a.c.status(ctx, h)
	if err != nil {
		return err
	}
	a.undo(h.Start)
	if err := h.Kill(ctx); err != nil {
		return err
	}
	stop := a.c.fillLog(ctx)
	defer stop()
	return poll(ctx, installTimeout, func(ctx context.Context) error {
		for _, other := range a.c.Members() {
			if other == h {
				continue
			}
			if err := a.c.snapshot(ctx, other); err != nil {
				return err
			}
			s, err := a.c.status(ctx, other)
			if err != nil {
				return err
			}
			if s.Log == nil || s.Log.FirstIndex <= before.CommitIndex+1 {
				return fmt.Errorf("the log of %s has still what %s lacks", other.Name(), h.Name())
			}
		}
		return nil
	})
}

// snapshot makes a host take a snapshot and drop the log that it covers.
func (c *Cluster) snapshot(ctx context.Context, h lab.Host) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return c.admin(ctx, h, "snapshot", "")
}

// fillLog starts clients that write to the leader until stop is called.
func (c *Cluster) fillLog(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var all sync.WaitGroup
	for i := range fillers {
		all.Go(func() {
			for ctx.Err() == nil {
				leader, ok := c.watch.Leader()
				if ok {
					ok = c.serves(ctx, leader, fmt.Sprintf("fill-%d", i)) == nil
				}
				if !ok && sleep(ctx, pollTick) != nil {
					return
				}
			}
		})
	}
	return func() {
		cancel()
		all.Wait()
	}
}
