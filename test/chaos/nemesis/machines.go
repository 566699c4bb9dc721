package nemesis

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"time"

	"github.com/kvorum/kvorum/test/chaos/lab"
)

// machineFaults returns the faults of clocks, memory, descriptors and addresses.
func machineFaults() []*Fault {
	return []*Fault{
		{Name: "the clock jumps", Rows: []int{13}, Majority: true, takes: oneHost, lasts: span{time.Second, 4 * time.Second}, terms: 2, missing: noClock, start: jump},
		{Name: "out of memory", Rows: []int{29}, Majority: true, MayBeKilled: true, May: []string{"out of memory", "cannot allocate memory"},
			takes: oneHost, lasts: span{500 * time.Millisecond, 2 * time.Second}, terms: 1, start: starve},
		{Name: "descriptors used up", Rows: []int{31}, May: []string{"too many open files"}, takes: oneHost,
			lasts: span{2 * time.Second, 4 * time.Second}, terms: 2, start: useFiles},
		{Name: "another address", Rows: []int{39}, Majority: true, takes: oneHost, lasts: span{500 * time.Millisecond, 2 * time.Second}, terms: 1, start: readdress},
	}
}

// jump has a process see a wall clock that is an hour ahead or behind.
func jump(ctx context.Context, a *Act) error {
	h, err := a.victim(ctx)
	if err != nil {
		return err
	}
	ahead := time.Hour
	if a.rng.IntN(2) == 0 {
		ahead = -ahead
	}
	a.say("%v", ahead)
	again := func(ctx context.Context, ahead time.Duration) error {
		if err := h.SkewClock(ctx, ahead); err != nil {
			return err
		}
		return errors.Join(h.Stop(ctx), h.Start(ctx))
	}
	a.undo(func(ctx context.Context) error { return again(ctx, 0) })
	return again(ctx, ahead)
}

// starve lets a process have less and less memory, until the kernel kills it.
func starve(ctx context.Context, a *Act) error {
	h, err := a.victim(ctx)
	if err != nil {
		return err
	}
	has, err := h.Resources()
	if err != nil {
		return err
	}
	a.undo(h.Start)
	a.undo(func(ctx context.Context) error { return h.LimitMemory(ctx, 0) })
	for limit := has.Resident; limit > 1<<20; limit = limit * 8 / 10 {
		if err := h.LimitMemory(ctx, limit); err != nil {
			return err
		}
		if err := sleep(ctx, 300*time.Millisecond); err != nil {
			return err
		}
		if !h.Running() {
			a.say("killed at %d KiB", limit>>10)
			return nil
		}
	}
	return fmt.Errorf("%w: the kernel kills it at no limit", lab.ErrNotCovered)
}

const (
	// spareFiles is how many descriptors a process may still open.
	spareFiles = 4
	// floodConns is how many connections are made to use them up.
	floodConns = 64
)

// useFiles leaves a process few descriptors, and makes connections that take them.
func useFiles(ctx context.Context, a *Act) error {
	h, err := a.victim(ctx)
	if err != nil {
		return err
	}
	has, err := h.Resources()
	if err != nil {
		return err
	}
	target, err := url.Parse(h.URL())
	if err != nil {
		return err
	}
	a.undo(h.Start)
	a.undo(func(ctx context.Context) error { return h.LimitFiles(ctx, 0) })
	if err := h.LimitFiles(ctx, uint64(has.Descriptors+spareFiles)); err != nil {
		return err
	}
	a.say("%d of them", has.Descriptors+spareFiles)
	dialer := net.Dialer{Timeout: requestTimeout}
	for range floodConns {
		conn, err := dialer.DialContext(ctx, "tcp", target.Host)
		if err != nil {
			break // nobody takes more of them
		}
		a.undo(func(context.Context) error { _ = conn.Close(); return nil })
	}
	return nil
}

// readdress gives a host another address among its peers.
func readdress(ctx context.Context, a *Act) error {
	h, err := a.victim(ctx)
	if err != nil {
		return err
	}
	a.undo(h.Start)
	if err := h.Stop(ctx); err != nil {
		return err
	}
	return h.Readdress(ctx)
}
