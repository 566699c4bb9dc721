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
)

const (
	failoverNodes = 3
	// writeTimeout is the timeout of an attempt to write, and writePause is the time
	// between two attempts.
	writeTimeout = 250 * time.Millisecond
	writePause   = 3 * time.Millisecond
	// calm is the time for which all nodes are ready before the next kill.
	calm = time.Second
)

// failover measures the time from the loss of a leader to the next acknowledged write.
type failover struct {
	dir   string
	kills int
	out   io.Writer
}

func newFailoverCommand() *cobra.Command {
	var f failover
	cmd := &cobra.Command{
		Use:   "failover",
		Short: "Kill the leader of three processes and time the next acknowledged write",
		Args:  cobra.NoArgs,
	}
	cmd.Flags().StringVar(&f.dir, "dir", "", "directory on the disk to measure (default the one for temporary files)")
	cmd.Flags().IntVar(&f.kills, "kills", 20, "how often the leader is killed")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		f.out = cmd.OutOrStdout()
		return withDir(f.dir, func(dir string) error { return f.run(cmd.Context(), dir) })
	}
	return cmd
}

// run builds the program, starts the nodes, measures and ends them.
func (f *failover) run(ctx context.Context, dir string) error {
	if err := describe(f.out, "Failover", dir); err != nil {
		return err
	}
	program, err := buildProgram(ctx, dir)
	if err != nil {
		return err
	}
	nodes, err := newProcesses(program, dir, failoverNodes)
	if err != nil {
		return err
	}
	defer nodes.kill()
	for _, n := range nodes {
		if err := n.start(); err != nil {
			return err
		}
	}
	var times []float64
	for i := range f.kills {
		d, err := killLeader(ctx, nodes, i)
		if err != nil {
			return fmt.Errorf("kill %d: %w", i+1, err)
		}
		times = append(times, d.Seconds())
	}
	f.print(times)
	return nil
}

// print prints the seconds from each kill to the next acknowledged write.
func (f *failover) print(times []float64) {
	fmt.Fprintf(f.out, "%d processes on this machine, default settings; the leader is killed (SIGKILL), the others are asked to write every %v.\n",
		failoverNodes, writePause)
	t := table{head: []string{"leader killed", "next write acknowledged after"}}
	t.add("median", fmt.Sprintf("%.2f s", median(times)))
	t.add(fmt.Sprintf("worst of %d", len(times)), fmt.Sprintf("%.2f s", slices.Max(times)))
	var all []string
	for _, s := range times {
		all = append(all, fmt.Sprintf("%.2f", s))
	}
	t.add("all, in seconds", strings.Join(all, " "))
	t.write(f.out)
}

// killLeader waits until all nodes serve, kills the leader, and returns the time
// until the next write is acknowledged. It starts the node again.
func killLeader(ctx context.Context, nodes processes, round int) (time.Duration, error) {
	if err := nodes.awaitReady(ctx); err != nil {
		return 0, err
	}
	time.Sleep(calm)
	leader, err := nodes.leader(ctx)
	if err != nil {
		return 0, err
	}
	began := time.Now()
	leader.kill()
	if err := nodes.without(leader).write(ctx, fmt.Sprintf("failover-%d", round)); err != nil {
		return 0, err
	}
	d := time.Since(began)
	return d, leader.start()
}

// write returns when any of the nodes has acknowledged a write of key.
func (ps processes) write(ctx context.Context, key string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, readyTimeout, errors.New("no write was acknowledged"))
	defer cancel()
	acknowledged := make(chan struct{}, len(ps))
	for _, p := range ps {
		go func() { // ends with ctx, or with its success
			for ctx.Err() == nil {
				if p.put(ctx, key) == nil {
					acknowledged <- struct{}{}
					return
				}
				time.Sleep(writePause)
			}
		}()
	}
	select {
	case <-acknowledged:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
