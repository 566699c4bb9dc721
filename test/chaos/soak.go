package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/kvorum/kvorum/test/chaos/lab"
	"github.com/kvorum/kvorum/test/chaos/nemesis"
	"github.com/kvorum/kvorum/test/chaos/record"
)

const (
	// soakRound is the time after which the clients' results are checked and their keys are
	// deleted, because a history is held in memory.
	soakRound = 10 * time.Minute
	// soakEvery is the time between two faults.
	soakEvery = time.Minute
	// idleTime is the time for which nodes are idle after a round, before their resources
	// are measured.
	idleTime = 10 * time.Second
	// leastRounds is the minimum number of rounds for a check for leaks.
	leastRounds = 4
)

func newSoakCommand() *cobra.Command {
	o := options{command: "soak", nodes: 3, atOnce: 1, every: soakEvery, sparing: true}
	var hours float64
	cmd := &cobra.Command{
		Use:   "soak [flags]",
		Short: "Use a cluster for hours, with a fault a minute, and look for leaks",
		Long: `Soak makes, once a minute, a fault that processes live through, and prints a line a
minute. Every ten minutes it checks what clients saw, deletes their keys, and notes what
idle nodes take: memory, descriptors, goroutines and disk. What grows from one of these
moments to the next, by a fifth or more in all, is a leak.`,
		Args: cobra.NoArgs,
	}
	o.addFlags(cmd)
	f := cmd.Flags()
	f.Float64Var(&hours, "hours", 1, "how long")
	f.IntVar(&o.nodes, "nodes", 3, "nodes that form the cluster")
	f.StringVar(&o.kind, "kind", "", "namespaces or proxy; what the rights allow where it is not given")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		o.seconds = int(hours * time.Hour.Seconds())
		if err := o.check(); err != nil {
			return err
		}
		_, err := conclude(cmd.Context(), cmd.OutOrStdout(), o)
		return err
	}
	return cmd
}

// soak makes rounds for the given time, and looks for resources that grow.
func (r *run) soak(ctx context.Context, c *nemesis.Cluster, hosts []lab.Host, length time.Duration) error {
	watching, stop := context.WithCancel(ctx)
	var minutes sync.WaitGroup
	minutes.Go(func() { r.tellMinutes(watching, hosts) })
	defer minutes.Wait()
	defer stop()
	var idle [][]usage
	for end := time.Now().Add(length); time.Now().Before(end); {
		round := len(r.schedules)
		if err := r.breaks(ctx, c, hosts, min(soakRound, time.Until(end))); err != nil {
			return err
		}
		if err := deleteAll(ctx, hosts[0], roundPrefix(round)); err != nil {
			return fmt.Errorf("delete the keys of a round: %w", err)
		}
		if err := sleep(ctx, idleTime); err != nil {
			return err
		}
		used, err := usageOf(ctx, hosts)
		if err != nil {
			return err
		}
		r.out.say("after round %d, idle: %s", round+1, tell(used))
		idle = append(idle, used)
	}
	r.judgeGrowth(idle)
	return nil
}

// tellMinutes prints a line per minute, until ctx ends.
func (r *run) tellMinutes(ctx context.Context, hosts []lab.Host) {
	for sleep(ctx, time.Minute) == nil {
		used, err := usageOf(ctx, hosts)
		if err != nil {
			r.out.say("%v", err)
			continue
		}
		r.out.say("%s; %s", r.lastMinute(), tell(used))
	}
}

// lastMinute describes the results of this round's clients in the newest minute.
func (r *run) lastMinute() string {
	r.mu.Lock()
	clients := r.clients
	r.mu.Unlock()
	if clients == nil {
		return "no clients"
	}
	seconds := clients.Seconds()
	seconds = seconds[max(0, len(seconds)-60):]
	var operations int
	var p99 float64
	for _, s := range seconds {
		operations += s.Acknowledged + s.Reads
		p99 = max(p99, s.P99)
	}
	return fmt.Sprintf("%d ops/s, writes of the worst second p99 %.0f ms", operations/max(1, len(seconds)), p99)
}

// judgeGrowth finds resources of idle nodes that grow from round to round. It ignores the
// first round, in which a node allocates its working memory.
func (r *run) judgeGrowth(idle [][]usage) {
	if len(idle) < leastRounds {
		r.rec.Uncovered = append(r.rec.Uncovered, record.Uncovered{
			What: "leaks", Reason: fmt.Sprintf("%d rounds of %v, and %d are needed", len(idle), soakRound, leastRounds),
		})
		return
	}
	var found []string
	for node := range idle[0] {
		for _, figure := range figures {
			var values []float64
			for _, round := range idle[1:] {
				values = append(values, figure.of(round[node]))
			}
			if rise := growth(values); rise > figure.slack+0.2*values[0] {
				found = append(found, fmt.Sprintf("%s of %s rises by %.0f from %.0f in %d rounds", figure.name, idle[0][node].name, rise, values[0], len(values)))
			}
		}
	}
	for _, what := range found {
		r.rec.Violations = append(r.rec.Violations, record.Violation{
			At: time.Since(r.rec.Began).Round(time.Millisecond).Seconds(), Promise: "an idle node takes no more than before", What: what,
		})
	}
	r.rec.Checks = append(r.rec.Checks, record.Check{
		Name: "nothing leaks", Of: fmt.Sprintf("memory, descriptors, goroutines and disk of %d nodes after %d rounds: %s", len(idle[0]), len(idle), tell(idle[len(idle)-1])), Passed: len(found) == 0,
	})
}

// growth returns the rise from the first value to the last, on the straight line that fits
// the values best.
func growth(values []float64) float64 {
	n := float64(len(values))
	var x, y, xx, xy float64
	for i, v := range values {
		f := float64(i)
		x, y, xx, xy = x+f, y+v, xx+f*f, xy+f*v
	}
	if d := n*xx - x*x; d > 0 {
		return (n*xy - x*y) / d * (n - 1)
	}
	return 0
}

// tell describes the resources of nodes.
func tell(all []usage) string {
	var parts []string
	for _, u := range all {
		parts = append(parts, fmt.Sprintf("%s %.0f MiB, %.0f descriptors, %.0f goroutines, %.0f MiB on disk", u.name, u.resident/(1<<20), u.descriptors, u.goroutines, u.disk/(1<<20)))
	}
	return strings.Join(parts, "; ")
}
