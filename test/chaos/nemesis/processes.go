package nemesis

import (
	"context"
	"time"

	"github.com/kvorum/kvorum/test/chaos/lab"
)

// picker claims the host that a fault is on.
type picker func(a *Act, ctx context.Context) (lab.Host, error)

// processFaults returns the faults of processes: their ends and pauses.
func processFaults() []*Fault {
	usual := span{500 * time.Millisecond, 3 * time.Second}
	return []*Fault{
		{Name: "kill a follower", Rows: []int{1}, Majority: true, takes: oneHost, lasts: usual, terms: 1, start: down((*Act).follower, lab.Host.Kill)},
		{Name: "kill the leader", Rows: []int{2}, Majority: true, takes: oneHost, lasts: usual, terms: 1, start: down((*Act).leader, lab.Host.Kill)},
		{Name: "kill a majority", Rows: []int{3}, takes: everyHost, lasts: usual, terms: 2, start: killMajority},
		{Name: "kill all", Rows: []int{4}, takes: everyHost, lasts: span{100 * time.Millisecond, 2 * time.Second}, terms: 2, start: allDown(lab.Host.Kill)},
		{Name: "kill one after the other", Rows: []int{4}, takes: everyHost, terms: 5, start: killRolling},
		{Name: "kill while it starts", Rows: []int{28}, Majority: true, takes: oneHost, terms: 3, start: killStarting},
		{Name: "pause a follower", Rows: []int{7}, Majority: true, takes: oneHost, spares: true, lasts: span{100 * time.Millisecond, 5 * time.Second}, terms: 1, start: pause((*Act).follower)},
		{Name: "pause the leader", Rows: []int{7}, Majority: true, takes: oneHost, spares: true, lasts: span{100 * time.Millisecond, 5 * time.Second}, terms: 2, start: pause((*Act).leader)},
		{Name: "pause all", Rows: []int{7}, takes: everyHost, spares: true, lasts: span{100 * time.Millisecond, 5 * time.Second}, terms: 2, start: pauseAll},
		{Name: "pause one for long", Rows: []int{7}, Majority: true, takes: oneHost, spares: true, long: true, lasts: span{10 * time.Second, 30 * time.Second}, terms: 2, start: pause((*Act).victim)},
		{Name: "stop and start one", Rows: []int{4}, Majority: true, takes: oneHost, lasts: usual, terms: 1, start: down((*Act).victim, lab.Host.Stop)},
		{Name: "stop and start all", Rows: []int{4}, takes: everyHost, lasts: span{100 * time.Millisecond, 1 * time.Second}, terms: 4, start: allDown(lab.Host.Stop)},
		{Name: "power loss of one", Rows: []int{5}, Majority: true, takes: oneHost, lasts: usual, terms: 1, missing: noPower, start: down((*Act).victim, lab.Host.LosePower)},
		{Name: "power loss of all", Rows: []int{5}, takes: everyHost, lasts: span{100 * time.Millisecond, 2 * time.Second}, terms: 2, missing: noPower, start: allDown(lab.Host.LosePower)},
	}
}

// down ends the process of one host, which the heal starts again.
func down(pick picker, end func(lab.Host, context.Context) error) func(context.Context, *Act) error {
	return func(ctx context.Context, a *Act) error {
		h, err := pick(a, ctx)
		if err != nil {
			return err
		}
		a.undo(h.Start)
		return end(h, ctx)
	}
}

// allDown ends the processes of all members at the same time.
func allDown(end func(lab.Host, context.Context) error) func(context.Context, *Act) error {
	return func(ctx context.Context, a *Act) error {
		return endEach(ctx, a, a.everyone(), end)
	}
}

// endEach ends the processes of hosts at the same time; the heal starts them again.
func endEach(ctx context.Context, a *Act, hosts []lab.Host, end func(lab.Host, context.Context) error) error {
	a.undo(func(ctx context.Context) error {
		return each(hosts, func(h lab.Host) error { return h.Start(ctx) })
	})
	return each(hosts, func(h lab.Host) error { return end(h, ctx) })
}

// killMajority kills the smallest majority of the members at the same time.
func killMajority(ctx context.Context, a *Act) error {
	hosts := a.everyone()
	a.rng.Shuffle(len(hosts), func(i, j int) { hosts[i], hosts[j] = hosts[j], hosts[i] })
	a.hosts = hosts[:len(hosts)/2+1]
	return endEach(ctx, a, a.hosts, lab.Host.Kill)
}

// killRolling kills the members one after the other. The next one is killed once the
// previous one runs again, whether it serves or not.
func killRolling(ctx context.Context, a *Act) error {
	for _, h := range a.everyone() {
		a.undo(h.Start)
		if err := h.Kill(ctx); err != nil {
			return err
		}
		if err := sleep(ctx, a.between(100*time.Millisecond, time.Second)); err != nil {
			return err
		}
		if err := h.Start(ctx); err != nil {
			return err
		}
		if err := sleep(ctx, a.between(0, time.Second)); err != nil {
			return err
		}
	}
	return nil
}

// killStarting kills a process, and kills it again up to half a second after each start.
func killStarting(ctx context.Context, a *Act) error {
	h, err := a.victim(ctx)
	if err != nil {
		return err
	}
	a.undo(h.Start)
	times := 3 + a.rng.IntN(4)
	a.say("%d times", times)
	for range times {
		if err := h.Kill(ctx); err != nil {
			return err
		}
		if err := h.Start(ctx); err != nil {
			return err
		}
		if err := sleep(ctx, a.between(0, 500*time.Millisecond)); err != nil {
			return err
		}
	}
	return h.Kill(ctx)
}

// pause stops the process of one host, as SIGSTOP does.
func pause(pick picker) func(context.Context, *Act) error {
	return func(ctx context.Context, a *Act) error {
		h, err := pick(a, ctx)
		if err != nil {
			return err
		}
		a.undo(h.Resume)
		return h.Pause(ctx)
	}
}

func pauseAll(ctx context.Context, a *Act) error {
	hosts := a.everyone()
	a.undo(func(ctx context.Context) error {
		return each(hosts, func(h lab.Host) error { return h.Resume(ctx) })
	})
	return each(hosts, func(h lab.Host) error { return h.Pause(ctx) })
}
