package nemesis

import (
	"context"
	"errors"
	"time"

	"github.com/kvorum/kvorum/test/chaos/lab"
)

// Unsynced is not one of All, because a cluster does not survive it: syncs do nothing and
// succeed, and then all hosts lose their power, and with it acknowledged writes. It shows
// that the checks find this.
func Unsynced() *Fault {
	return &Fault{
		Name: "power loss of all, unsynced", Rows: []int{5}, takes: everyHost, terms: 2, missing: noPower,
		May:   []string{"damaged", "lost its end", "lacks", "corrupt"},
		start: loseUnsynced,
	}
}

func loseUnsynced(ctx context.Context, a *Act) error {
	hosts := a.everyone()
	a.undo(func(ctx context.Context) error {
		return each(hosts, func(h lab.Host) error { return errors.Join(h.MendSyscalls(ctx), h.Start(ctx)) })
	})
	err := each(hosts, func(h lab.Host) error {
		return h.FailSyscalls(ctx, lab.SyscallFault{Calls: syncCalls, Skip: true})
	})
	if err != nil {
		return err
	}
	if err := sleep(ctx, a.between(time.Second, 3*time.Second)); err != nil {
		return err
	}
	return each(hosts, func(h lab.Host) error { return h.LosePower(ctx) })
}
