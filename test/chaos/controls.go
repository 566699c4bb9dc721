package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kvorum/kvorum/test/chaos/load"
	"github.com/kvorum/kvorum/test/chaos/nemesis"
)

// control is an error that is made on purpose, in the cluster or in the reports of clients.
// The checks of a run with it must find a broken promise.
type control struct {
	name    string
	what    string
	lie     load.Lie
	promise string   // part of the promise that must be found broken
	faults  []string // the faults that make it visible
	// least and most are the limits of the faults' durations. If they are zero, those of
	// the faults are used.
	least, most time.Duration
	// seconds and clients are how long faults are made, and the number of clients of each host, if
	// they are more than asked for: a leader that was paused answers few reads before it knows
	// that another one leads.
	seconds, clients int
	// unsynced makes syncs of all nodes do nothing before power is lost; it replaces
	// faults.
	unsynced bool
}

// controls returns all controls.
func controls() []control {
	return []control{
		{name: "leader-local-reads", what: "reads from any node that believes that it leads, without asking the others", lie: load.LeaderAsLinearizable,
			promise: "have an order", faults: []string{"pause the leader"}, least: 3 * time.Second, most: 5 * time.Second, seconds: 120, clients: 20},
		{name: "early-acknowledgement", what: "a write counts as acknowledged once one node has it", lie: load.EarlyAcknowledgement,
			promise: "an acknowledged write is there", faults: []string{"kill the leader", "kill all", "cut the leader off"}},
		{name: "no-sync", what: "syncs do nothing, and all hosts lose their power", promise: "an acknowledged write is there", unsynced: true},
		{name: "unknown-as-not-done", what: "a client reports an unknown outcome as not done", lie: load.UnknownAsNotDone,
			promise: "reported as not done", faults: []string{"kill the leader", "pause the leader", "cut the leader off"}},
		{name: "lost-write", what: "two acknowledged writes are not there", lie: load.LostWrite, promise: "an acknowledged write is there", faults: []string{"kill a follower"}},
		{name: "drop-change", what: "the watches that begin at the second host drop one message with changes", lie: load.DropChange, promise: "all watches deliver the same changes", faults: []string{"kill a follower"}},
		{name: "newest-as-past", what: "a read at a revision is answered with the newest value", lie: load.NewestAsPast, promise: "a read at a revision is the result", faults: []string{"kill a follower"}},
		{name: "forgotten-key", what: "additions are sent again without their idempotency key", lie: load.ForgottenKey, promise: "a counter", faults: []string{"kill the leader", "pause the leader", "cut the leader off"}},
	}
}

// findControl returns the control with a name, nil for none.
func findControl(name string) *control {
	for _, c := range controls() {
		if c.name == name {
			return &c
		}
	}
	return nil
}

func controlNames() (names []string) {
	for _, c := range controls() {
		names = append(names, c.name)
	}
	return names
}

// choose returns the faults of a run with this control.
func (c *control) choose(faults []*nemesis.Fault) []*nemesis.Fault {
	if c.unsynced {
		return []*nemesis.Fault{nemesis.Unsynced()}
	}
	faults = slices.DeleteFunc(faults, func(f *nemesis.Fault) bool { return !slices.Contains(c.faults, f.Name) })
	if c.most > 0 {
		for i, f := range faults {
			faults[i] = f.Lasting(c.least, c.most)
		}
	}
	return faults
}

func newControlsCommand() *cobra.Command {
	o := options{command: "run", nodes: 3, atOnce: 1, clients: 8}
	cmd := &cobra.Command{
		Use:   "controls [NAME...] [flags]",
		Short: "Break clusters in ways that must be found, and fail where one is not",
		Args:  cobra.ArbitraryArgs,
	}
	f := cmd.Flags()
	f.IntVar(&o.seconds, "seconds", 45, "how long faults are made for each, at least")
	f.Uint64Var(&o.seed, "seed", 0, "seed of the faults and clients; 0 draws one")
	f.StringVar(&o.kind, "kind", "", "namespaces or proxy; what the rights allow where it is not given")
	f.StringVar(&o.binary, "binary", "", "program to test; built from ./cmd/kvorum where none is given")
	cmd.RunE = func(cmd *cobra.Command, names []string) error {
		if len(names) == 0 {
			names = controlNames()
		}
		var found error
		for _, name := range names {
			o := o
			o.control = name
			if err := o.check(); err != nil {
				return err
			}
			found = errors.Join(found, tryControl(cmd.Context(), cmd.OutOrStdout(), o))
			if cmd.Context().Err() != nil {
				return found
			}
		}
		return found
	}
	return cmd
}

// tryControl makes a run with a control, which must break its promise.
func tryControl(ctx context.Context, w io.Writer, o options) error {
	c := findControl(o.control)
	o.seconds, o.clients = max(o.seconds, c.seconds), max(o.clients, c.clients)
	fmt.Fprintf(w, "\n== control %s: %s\n", c.name, c.what)
	r, err := conclude(ctx, w, o)
	if r == nil || r.rec == nil || ctx.Err() != nil {
		return fmt.Errorf("control %s: %w", c.name, err)
	}
	for _, v := range r.rec.Violations {
		if strings.Contains(v.Promise, c.promise) {
			fmt.Fprintf(w, "control %s: found, as it must be\n", c.name)
			return nil
		}
	}
	return fmt.Errorf("control %s: %w: it was not found", c.name, errBroken)
}
