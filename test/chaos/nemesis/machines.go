package nemesis

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"sync"
	"time"

	"github.com/kvorum/kvorum/test/chaos/lab"
)

// machineFaults returns the faults of clocks, memory, descriptors and addresses.
func machineFaults() []*Fault {
	return []*Fault{
		{Name: "the clock jumps", Rows: []int{13}, Majority: true, takes: oneHost, lasts: span{time.Second, 4 * time.Second}, terms: 2, missing: noClock, start: jump},
		{Name: "out of memory", Rows: []int{29}, Majority: true, MayBeKilled: true, May: []string{"out of memory", "cannot allocate memory"},
			takes: oneHost, lasts: span{500 * time.Millisecond, 2 * time.Second}, terms: 1, missing: noStarving, start: starve},
		{Name: "descriptors used up", Rows: []int{31}, May: []string{"too many open files"}, takes: oneHost,
			lasts: span{2 * time.Second, 4 * time.Second}, terms: 2, start: useFiles},
		{Name: "another address", Rows: []int{39}, Majority: true, takes: oneHost, lasts: span{500 * time.Millisecond, 2 * time.Second}, terms: 1, start: readdress},
		{Name: "unplug", Rows: []int{8, 39}, Majority: true, takes: oneHost, spares: true, lasts: span{time.Second, 4 * time.Second}, terms: 2,
			missing: noPlug, start: unplug},
	}
}

// jump makes a process see a wall clock that is an hour ahead or behind.
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

const (
	// starvePause is the time that the kernel has to kill a process at each limit.
	starvePause = 300 * time.Millisecond
	// pressers is the number of large values that are written at once to a process that
	// survives the lowest limit which the kernel accepts. pressValue is the size of each in
	// bytes. They are written again and again for at most pressTime.
	pressTime  = 10 * time.Second
	pressers   = 32
	pressValue = 512 << 10
)

// starve lowers a process's limit of memory until the kernel kills it. Some kernels refuse
// a limit below the memory in use. Then starve makes the process take more.
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
	set := int64(0)
	for limit := has.Resident * 5 / 4; limit > 1<<20 && h.Running(); limit = limit * 8 / 10 {
		if err := h.LimitMemory(ctx, limit); err != nil && set == 0 {
			return err
		} else if err != nil {
			break
		}
		set = limit
		if err := sleep(ctx, starvePause); err != nil {
			return err
		}
	}
	for end := time.Now().Add(pressTime); h.Running() && time.Now().Before(end); {
		a.c.press(ctx, h)
		if err := sleep(ctx, starvePause); err != nil {
			return err
		}
	}
	if h.Running() {
		return fmt.Errorf("the kernel does not kill it at %d KiB", set>>10)
	}
	a.say("killed at %d KiB", set>>10)
	return nil
}

// large is the value that press writes.
var large = make([]byte, pressValue)

// press writes large values to a host, and waits for the answers, or for its end.
func (c *Cluster) press(ctx context.Context, h lab.Host) {
	var all sync.WaitGroup
	for i := range pressers {
		all.Go(func() { _ = c.put(ctx, h, fmt.Sprintf("press-%d", i), large) }) // the process must end
	}
	all.Wait()
}

const (
	// spareFiles is the number of descriptors that a process may still open.
	spareFiles = 4
	// floodConns is the number of connections that are made to use them up.
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
			break // no more connections are accepted
		}
		a.undo(func(context.Context) error { _ = conn.Close(); return nil })
	}
	return nil
}

// unplug removes a running host from its network, and gives it another address there.
func unplug(ctx context.Context, a *Act) error {
	h, err := a.victim(ctx)
	if err != nil {
		return err
	}
	plugged, ok := h.(lab.Unplugger)
	if !ok {
		return fmt.Errorf("%w: %s can't be taken off its network while it runs", lab.ErrNotCovered, h.Name())
	}
	a.undo(plugged.Plug)
	return plugged.Unplug(ctx)
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
