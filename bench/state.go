package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
)

// state measures the replicated state machine, alone and in a cluster of one node.
type state struct {
	dir        string
	rounds     int
	keys       int
	sizes      []int
	valueBytes int
	clients    []int
	duration   time.Duration // of one measurement with or without snapshots
	out        io.Writer
}

func newStateCommand() *cobra.Command {
	var s state
	cmd := &cobra.Command{
		Use:   "state",
		Short: "Measure the state machine: memory, restart, snapshots, cost by size",
		Args:  cobra.NoArgs,
	}
	cmd.Flags().StringVar(&s.dir, "dir", "", "directory on the disk to measure (default the one for temporary files)")
	cmd.Flags().IntVar(&s.rounds, "rounds", 5, "restarts, and rounds of the cost by size")
	cmd.Flags().IntVar(&s.keys, "keys", 1_000_000, "keys in the state machine but for the cost by size")
	cmd.Flags().IntSliceVar(&s.sizes, "sizes", []int{10_000, 100_000, 1_000_000}, "keys to give the cost by size for; 10000000 takes 6 GB of memory")
	cmd.Flags().IntVar(&s.valueBytes, "value-bytes", 100, "size of a value")
	cmd.Flags().IntSliceVar(&s.clients, "clients", []int{1, 64}, "clients that put while snapshots are taken")
	cmd.Flags().DurationVar(&s.duration, "duration", 10*time.Second, "how long they do so, twice, and twice without snapshots")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		s.out = cmd.OutOrStdout()
		return withDir(s.dir, func(dir string) error { return s.run(cmd.Context(), dir) })
	}
	return cmd
}

// run prints all tables.
func (s *state) run(ctx context.Context, dir string) error {
	if err := describe(s.out, "State machine", dir); err != nil {
		return err
	}
	fmt.Fprintf(s.out, "%d keys of %d bytes, values of %d.\n", s.keys, keyBytes, s.valueBytes)
	facts := table{head: []string{"what", "figure"}}
	facts.add("heap in use", heapUse(s.keys, s.valueBytes))
	if err := s.node(ctx, dir, &facts); err != nil {
		return fmt.Errorf("node: %w", err)
	}
	facts.write(s.out)
	costs, err := costBySize(ctx, s.rounds, s.sizes, s.valueBytes)
	if err != nil {
		return fmt.Errorf("cost by size: %w", err)
	}
	costs.write(s.out)
	return nil
}

// node adds the figures of a cluster of one node.
func (s *state) node(ctx context.Context, dir string, facts *table) error {
	cfg, err := nodeConfig(dir)
	if err != nil {
		return err
	}
	rate, err := load(ctx, cfg, s.keys, s.valueBytes)
	if err != nil {
		return fmt.Errorf("load: %w", err)
	}
	facts.add(fmt.Sprintf("puts while loading, one node, %d clients", loaders), rate)
	restarts, err := restartTimes(ctx, cfg, s.rounds)
	if err != nil {
		return fmt.Errorf("restart: %w", err)
	}
	facts.add(fmt.Sprintf("restart to serving, median of %d", s.rounds), fmt.Sprintf("%.2f s", median(restarts)))
	for _, clients := range s.clients {
		p, err := putsBesideSnapshots(ctx, cfg, clients, s.keys, s.valueBytes, s.duration)
		if err != nil {
			return fmt.Errorf("snapshots: %w", err)
		}
		facts.add(fmt.Sprintf("puts, clients: %d, p50 and p99, without a snapshot", clients), p.without.String())
		facts.add(fmt.Sprintf("the same during one of %d snapshots", p.snapshots), p.during.String())
		facts.add("p99 during ÷ without", fmt.Sprintf("%.2f", float64(p.during.p99())/float64(p.without.p99())))
	}
	return nil
}
