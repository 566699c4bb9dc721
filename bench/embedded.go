package main

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"time"

	"github.com/spf13/cobra"
)

// embedded measures package store beside maps and embedded stores.
type embedded struct {
	dir        string
	rounds     int
	keys       int
	valueBytes int
	duration   time.Duration // of one measurement of writes
	out        io.Writer
}

func newEmbeddedCommand() *cobra.Command {
	var e embedded
	cmd := &cobra.Command{
		Use:   "embedded",
		Short: "Measure package store: parallel reads beside maps, synced writes beside stores",
		Args:  cobra.NoArgs,
	}
	cmd.Flags().StringVar(&e.dir, "dir", "", "directory on the disk to measure (default the one for temporary files)")
	cmd.Flags().IntVar(&e.rounds, "rounds", 5, "turns of each contender")
	cmd.Flags().IntVar(&e.keys, "keys", 1_000_000, "keys to read among")
	cmd.Flags().IntVar(&e.valueBytes, "value-bytes", 100, "size of a value")
	cmd.Flags().DurationVar(&e.duration, "duration", 2*time.Second, "how long a measurement of writes takes")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		e.out = cmd.OutOrStdout()
		return withDir(e.dir, func(dir string) error {
			if err := e.reads(cmd.Context()); err != nil {
				return fmt.Errorf("reads: %w", err)
			}
			if err := e.writes(cmd.Context(), dir); err != nil {
				return fmt.Errorf("writes: %w", err)
			}
			return nil
		})
	}
	return cmd
}

// reads prints the table of parallel reads.
func (e *embedded) reads(ctx context.Context) error {
	if err := describe(e.out, "Parallel reads in memory", ""); err != nil {
		return err
	}
	fmt.Fprintf(e.out, "%d keys of %d bytes, values of %d; %d goroutines; %d rounds; Zipf with s = %v.\n",
		e.keys, keyBytes, e.valueBytes, runtime.GOMAXPROCS(0), e.rounds, zipfExponent)
	orders := [][]order{readOrders(e.keys, uniform), readOrders(e.keys, zipf)}
	var contenders []contender
	for _, m := range maps {
		contenders = append(contenders, contender{m.name, func() ([]float64, error) {
			get, end, err := m.fill(e.keys, e.valueBytes)
			if err != nil {
				return nil, err
			}
			var rates []float64
			for _, each := range orders {
				rates = append(rates, readRate(get, each))
			}
			return rates, end()
		}})
	}
	columns, err := inTurn(ctx, e.rounds, len(orders), contenders)
	if err != nil {
		return err
	}
	t := compare("reads (of it, ours is)", []string{"uniform", "Zipf"}, columns)
	t.write(e.out)
	return nil
}

// writes prints the table of synced writes.
func (e *embedded) writes(ctx context.Context, dir string) error {
	if err := describe(e.out, "Synced writes", dir); err != nil {
		return err
	}
	fmt.Fprintf(e.out, "Random keys of %d, values of %d bytes; each write is durable when it returns; an empty directory each time; %d rounds of %v.\n",
		writeKeys, e.valueBytes, e.rounds, e.duration)
	var titles []string
	var columns [][]figures
	for _, writers := range []int{1, 64, 256} {
		var contenders []contender
		for _, d := range databases {
			contenders = append(contenders, contender{d.name, func() ([]float64, error) {
				rate, err := writeRate(d.open, dir, writers, e.valueBytes, e.duration)
				return []float64{rate}, err
			}})
		}
		column, err := inTurn(ctx, e.rounds, 1, contenders)
		if err != nil {
			return err
		}
		titles = append(titles, fmt.Sprintf("goroutines: %d", writers))
		columns = append(columns, column...)
	}
	t := compare("synced writes (of it, ours is)", titles, columns)
	t.write(e.out)
	return nil
}
