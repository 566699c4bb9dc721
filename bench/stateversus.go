package main

import (
	"context"
	_ "embed"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
)

// The sources of a driver of a state machine.
var (
	//go:embed statedriver/main.go.txt
	stateMain []byte
	//go:embed statedriver/history.go.txt
	stateHistory []byte
	//go:embed statedriver/items.go.txt
	stateItems []byte

	stateDriver = driverSource{name: "statedriver", main: stateMain, withKV: stateHistory, withoutKV: stateItems}
)

// stateVersus measures the state machines of two versions side by side, each in a process of
// its own.
type stateVersus struct {
	rounds     int
	sizes      []int
	valueBytes int
	puts       int
	duration   time.Duration // of one measurement of gets or lists
	old, new   string        // revisions; new may be empty
	out        io.Writer
}

// stateRequest is a line to the driver, and stateCost one from it.
type stateRequest struct {
	Do       string        `json:"do"`
	Puts     int           `json:"puts"`
	Duration time.Duration `json:"duration"`
}

type stateCost struct {
	Wall      float64 `json:"wall"`
	CPU       float64 `json:"cpu"`
	Collector float64 `json:"collector"`
}

func newStateVersusCommand() *cobra.Command {
	var s stateVersus
	var dir string
	cmd := &cobra.Command{
		Use:   "state-versus OLD [NEW]",
		Short: "Measure the state machines of two versions side by side; each is a git revision, NEW is this version",
		Args:  cobra.RangeArgs(1, 2),
	}
	cmd.Flags().StringVar(&dir, "dir", "", "directory for the programs (default the one for temporary files)")
	cmd.Flags().IntVar(&s.rounds, "rounds", 7, "turns of each version, 1 or more")
	cmd.Flags().IntSliceVar(&s.sizes, "sizes", []int{10_000, 1_000_000}, "keys; 10000000 take 6 GB of memory")
	cmd.Flags().IntVar(&s.valueBytes, "value-bytes", 100, "size of a value")
	cmd.Flags().IntVar(&s.puts, "puts", 3_000_000, "puts of one measurement")
	cmd.Flags().DurationVar(&s.duration, "duration", 2*time.Second, "how long a measurement of gets or lists takes")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		s.out, s.old = cmd.OutOrStdout(), args[0]
		if len(args) == 2 {
			s.new = args[1]
		}
		if s.rounds < 1 || s.duration <= 0 || s.valueBytes < 0 || s.puts < 256 {
			return fmt.Errorf("rounds %d, duration %v, value-bytes %d, puts %d: too small", s.rounds, s.duration, s.valueBytes, s.puts)
		}
		return withDir(dir, func(dir string) error { return s.run(cmd.Context(), dir) })
	}
	return cmd
}

// stateKinds are the measurements of a turn.
var stateKinds = []struct{ do, title string }{
	{"get", "get"}, {"list", fmt.Sprintf("list of %d keys", listKeys)}, {"put", "put"}, {"restore", "load of a snapshot"},
}

// run builds both drivers, and prints the tables.
func (s *stateVersus) run(ctx context.Context, dir string) error {
	var programs []driverProgram
	for _, v := range []struct{ revision, dir string }{{s.new, "new"}, {s.old, "old"}} {
		p, err := stateDriver.build(ctx, v.revision, filepath.Join(dir, v.dir))
		if err != nil {
			return fmt.Errorf("%s: %w", v.dir, err)
		}
		programs = append(programs, p)
	}
	if err := describe(s.out, "State machines of two versions", dir); err != nil {
		return err
	}
	fmt.Fprintf(s.out, "Keys of %d bytes, values of %d, %d rounds. This version keeps the history of the last 100,000 puts.\n", keyBytes, s.valueBytes, s.rounds)
	var titles, collectorTitles, heapTitles []string
	var wall, cpu, collector, heaps [][]figures
	for _, n := range s.sizes {
		columns, heap, err := s.size(ctx, programs, n)
		if err != nil {
			return fmt.Errorf("%d keys: %w", n, err)
		}
		for i, k := range stateKinds {
			titles = append(titles, fmt.Sprintf("%s, %d keys", k.title, n))
			wall, cpu = append(wall, columns[3*i]), append(cpu, columns[3*i+1])
			if k.do == "put" {
				collectorTitles = append(collectorTitles, fmt.Sprintf("put, %d keys", n))
				collector = append(collector, columns[3*i+2])
			}
		}
		heapTitles = append(heapTitles, fmt.Sprintf("a key, of %d", n))
		heaps = append(heaps, heap)
	}
	duration := func(ns float64) string { return time.Duration(ns).Round(time.Nanosecond).String() }
	for _, t := range []table{
		sideBySide("time", titles, wall, duration),
		sideBySide("processor time", titles, cpu, duration),
		sideBySide("processor time of the garbage collector", collectorTitles, collector, duration),
		sideBySide("bytes of heap, beyond the history", heapTitles, heaps, func(v float64) string { return fmt.Sprintf("%.0f", v) }),
	} {
		t.write(s.out)
	}
	return nil
}

// size measures state machines of n keys: three columns for each kind, and the heap of a key.
func (s *stateVersus) size(ctx context.Context, programs []driverProgram, n int) (columns [][]figures, heap []figures, err error) {
	var contenders []contender
	for _, p := range programs {
		var ready struct{ Heap float64 }
		if err := os.MkdirAll(p.dir, 0o700); err != nil {
			return nil, nil, err
		}
		d, err := p.start(p.dir, &ready, fmt.Sprint(n), fmt.Sprint(s.valueBytes))
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", p.version, err)
		}
		defer d.stop()
		heap = append(heap, figures{p.version, []float64{ready.Heap}})
		contenders = append(contenders, contender{p.version, func() ([]float64, error) { return s.turn(d) }})
	}
	columns, err = inTurn(ctx, s.rounds, 3*len(stateKinds), contenders)
	return columns, heap, err
}

// turn makes each measurement once.
func (s *stateVersus) turn(d *driver) (values []float64, err error) {
	for _, k := range stateKinds {
		var c stateCost
		if err := d.ask(stateRequest{Do: k.do, Puts: s.puts, Duration: s.duration}, &c); err != nil {
			return nil, fmt.Errorf("%s: %w", k.do, err)
		}
		values = append(values, c.Wall, c.CPU, c.Collector)
	}
	return values, nil
}
