package main

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
)

// watches measures what watchers cost.
type watches struct {
	dir      string
	rounds   int
	duration time.Duration // of one measurement
	prefixes int           // watchers of distinct prefixes
	watchers int           // watchers of one prefix
	rate     int           // events a second that each of them gets
	etcd     string        // path of etcd's binary; if it is "", etcd is built
	out      io.Writer
}

func newWatchCommand() *cobra.Command {
	var w watches
	cmd := &cobra.Command{
		Use:   "watch",
		Short: "Measure puts among many watchers, and many watchers of one prefix beside etcd",
		Args:  cobra.NoArgs,
	}
	cmd.Flags().StringVar(&w.dir, "dir", "", "directory on the disk to measure (default the one for temporary files)")
	cmd.Flags().IntVar(&w.rounds, "rounds", 5, "turns of each contender, 1 or more")
	cmd.Flags().DurationVar(&w.duration, "duration", 5*time.Second, "how long a measurement takes")
	cmd.Flags().IntVar(&w.prefixes, "prefixes", 10_000, "watchers of distinct prefixes; 0 leaves this measurement out")
	cmd.Flags().IntVar(&w.watchers, "watchers", 1000, "watchers of one prefix; 0 leaves this measurement out")
	cmd.Flags().IntVar(&w.rate, "rate", 1000, "puts a second to that prefix, each of which is an event for each watcher")
	cmd.Flags().StringVar(&w.etcd, "etcd", "", "path of etcd's binary (default: etcd "+etcdVersion+" is built)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		w.out = cmd.OutOrStdout()
		if w.rounds < 1 || w.duration < time.Second || w.prefixes < 0 || w.watchers < 0 || w.rate < 1 {
			return fmt.Errorf("rounds %d, duration %v, prefixes %d, watchers %d, rate %d: rounds and rate must be above 0, duration 1s or more",
				w.rounds, w.duration, w.prefixes, w.watchers, w.rate)
		}
		return withDir(w.dir, func(dir string) error { return w.run(cmd.Context(), dir) })
	}
	return cmd
}

// run prints the tables.
func (w *watches) run(ctx context.Context, dir string) error {
	if err := describe(w.out, "Watches", dir); err != nil {
		return err
	}
	if w.prefixes > 0 {
		if err := w.matching(ctx, filepath.Join(dir, "matching")); err != nil {
			return fmt.Errorf("watchers of distinct prefixes: %w", err)
		}
	}
	if w.watchers > 0 {
		if err := w.fanOut(ctx, dir); err != nil {
			return fmt.Errorf("watchers of one prefix: %w", err)
		}
	}
	return nil
}
