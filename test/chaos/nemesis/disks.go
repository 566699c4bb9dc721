package nemesis

import (
	"context"
	"time"

	"github.com/kvorum/kvorum/test/chaos/lab"
)

// syncCalls are the system calls that make a node's data durable.
const syncCalls = "fdatasync,fsync"

// diskFaults returns the faults of disks.
func diskFaults() []*Fault {
	lasts := span{2 * time.Second, 5 * time.Second}
	full, broken := []string{"no space left on device"}, []string{"input/output error"}
	eio := func(calls string) lab.SyscallFault { return lab.SyscallFault{Calls: calls, Errno: "EIO"} }
	return []*Fault{
		{Name: "fill a follower's disk", Rows: []int{14}, May: full, takes: oneHost, lasts: lasts, terms: 1, missing: noDisks, start: fill((*Act).follower)},
		{Name: "fill the leader's disk", Rows: []int{14}, May: full, takes: oneHost, lasts: lasts, terms: 2, missing: noDisks, start: fill((*Act).leader)},
		{Name: "syncs fail", Rows: []int{15}, May: broken, Majority: true, takes: oneHost, lasts: lasts, terms: 1,
			start: calls(func(*Act) lab.SyscallFault { return eio(syncCalls) })},
		{Name: "writes fail", Rows: []int{15}, May: broken, Majority: true, takes: oneHost, lasts: lasts, terms: 1,
			start: calls(func(a *Act) lab.SyscallFault {
				how := eio("pwrite64,ftruncate,fallocate,renameat,rename,renameat2")
				how.From = 1 + a.rng.IntN(5)
				return how
			})},
		{Name: "reads fail", Rows: []int{16}, May: broken, Majority: true, takes: oneHost, lasts: lasts, terms: 1,
			start: calls(func(*Act) lab.SyscallFault { return eio("pread64") })},
		{Name: "slow syncs", Rows: []int{23}, Majority: true, takes: oneHost, spares: true, lasts: lasts, terms: 1,
			start: calls(func(a *Act) lab.SyscallFault {
				delay := a.between(10*time.Millisecond, time.Second)
				a.say("%v", delay)
				return lab.SyscallFault{Calls: syncCalls, Delay: delay}
			})},
		{Name: "syncs hang", Rows: []int{23}, May: []string{"a write to the log does not return"}, takes: oneHost, long: true,
			lasts: span{12 * time.Second, 15 * time.Second}, terms: 2,
			start: calls(func(*Act) lab.SyscallFault { return lab.SyscallFault{Calls: syncCalls, Delay: 20 * time.Second} })},
	}
}

// fill fills a disk. If a process ends because of that, the heal starts it again.
func fill(pick picker) func(context.Context, *Act) error {
	return func(ctx context.Context, a *Act) error {
		h, err := pick(a, ctx)
		if err != nil {
			return err
		}
		left := []int64{0, 64 << 10, 1 << 20, 16 << 20}[a.rng.IntN(4)]
		a.say("%d KiB left", left>>10)
		a.undo(h.Start)
		a.undo(h.EmptyDisk)
		return h.FillDisk(ctx, left)
	}
}

// calls makes system calls of one process fail or take long. If the process ends because of
// that, the heal starts it again.
func calls(draw func(a *Act) lab.SyscallFault) func(context.Context, *Act) error {
	return func(ctx context.Context, a *Act) error {
		h, err := a.victim(ctx)
		if err != nil {
			return err
		}
		a.undo(h.Start)
		a.undo(h.MendSyscalls)
		return h.FailSyscalls(ctx, draw(a))
	}
}
