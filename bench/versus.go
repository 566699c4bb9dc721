package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
)

// versus measures two versions of the program side by side.
type versus struct {
	dir        string
	rounds     int
	clients    []int
	valueBytes int
	duration   time.Duration // of one measurement of one load
	keys       int           // number of keys in the node that is restarted
	old, new   string        // each a path or a revision; new may be empty
	out        io.Writer
}

func newVersusCommand() *cobra.Command {
	var v versus
	cmd := &cobra.Command{
		Use:   "versus OLD [NEW]",
		Short: "Measure two versions side by side; each is a binary's path or a git revision, NEW is this version",
		Args:  cobra.RangeArgs(1, 2),
	}
	cmd.Flags().StringVar(&v.dir, "dir", "", "directory on the disk to measure (default the one for temporary files)")
	cmd.Flags().IntVar(&v.rounds, "rounds", 9, "turns of each version, 1 or more")
	cmd.Flags().IntSliceVar(&v.clients, "clients", []int{1, 64, 256}, "clients that ask, one request after the other each; 0 leaves requests out")
	cmd.Flags().IntVar(&v.valueBytes, "value-bytes", 256, "size of a value")
	cmd.Flags().DurationVar(&v.duration, "duration", time.Second, "how long a measurement takes")
	cmd.Flags().IntVar(&v.keys, "keys", 0, "keys in a node that is restarted, 2000000 take some minutes; 0 leaves restarts out")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		v.out, v.old = cmd.OutOrStdout(), args[0]
		if len(args) == 2 {
			v.new = args[1]
		}
		if err := v.check(); err != nil {
			return err
		}
		return withDir(v.dir, func(dir string) error { return v.run(cmd.Context(), dir) })
	}
	return cmd
}

// check refuses flags with which nothing can be measured.
func (v *versus) check() error {
	if v.rounds < 1 || v.duration <= 0 || v.valueBytes < 0 || v.keys < 0 {
		return fmt.Errorf("rounds %d, duration %v, value-bytes %d, keys %d: rounds and duration must be above 0, the others not below it",
			v.rounds, v.duration, v.valueBytes, v.keys)
	}
	for _, n := range v.clients {
		if n < 0 || n > loaders {
			return fmt.Errorf("clients %d: 0 to %d are possible", n, loaders)
		}
	}
	return nil
}

// version is one of the two programs, and the directory for its data.
type version struct{ name, program, dir string }

// run makes the programs and prints the tables.
func (v *versus) run(ctx context.Context, dir string) error {
	newer, err := makeVersion(ctx, v.new, filepath.Join(dir, "new"))
	if err != nil {
		return err
	}
	older, err := makeVersion(ctx, v.old, filepath.Join(dir, "old"))
	if err != nil {
		return err
	}
	if err := describe(v.out, "Two versions", dir); err != nil {
		return err
	}
	versions := []version{newer, older}
	if len(v.clients) > 0 && v.clients[0] > 0 {
		if err := v.requests(ctx, versions); err != nil {
			return fmt.Errorf("requests: %w", err)
		}
	}
	if v.keys > 0 {
		if err := v.restarts(ctx, versions); err != nil {
			return fmt.Errorf("restarts: %w", err)
		}
	}
	return nil
}

// startCluster runs n nodes of a version, and returns when they serve.
func startCluster(ctx context.Context, v version, n int) (processes, error) {
	if err := os.MkdirAll(v.dir, 0o700); err != nil {
		return nil, err
	}
	nodes, err := newProcesses(v.program, v.dir, n)
	if err != nil {
		return nil, err
	}
	for _, p := range nodes {
		if err := p.start(); err != nil {
			nodes.kill()
			return nil, err
		}
	}
	if err := nodes.awaitReady(ctx); err != nil {
		nodes.kill()
		return nil, err
	}
	return nodes, nil
}

// cpuTime returns the processor time that all nodes together have used.
func (ps processes) cpuTime() (sum time.Duration, err error) {
	for _, p := range ps {
		d, err := p.cpuTime()
		if err != nil {
			return 0, err
		}
		sum += d
	}
	return sum, nil
}

// sideBySide returns a table of two contenders, with a row for each title. A row has the
// median of each contender, and the median, the least and the greatest of the quotients
// first ÷ second within a round.
func sideBySide(corner string, titles []string, columns [][]figures, format func(float64) string) table {
	t := table{head: []string{corner, columns[0][0].name, columns[0][1].name, "quotient", "spread"}}
	for i, title := range titles {
		first, second := columns[i][0].values, columns[i][1].values
		least, most := spread(first, second)
		t.add(title, format(median(first)), format(median(second)),
			fmt.Sprintf("%.2f", ratio(first, second)), fmt.Sprintf("%.2f to %.2f", least, most))
	}
	return t
}
