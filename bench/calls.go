package main

import (
	"context"
	_ "embed"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
)

// The sources of a driver of three nodes.
var (
	//go:embed callsdriver/main.go.txt
	callsMain []byte
	//go:embed callsdriver/do.go.txt
	callsDo []byte
	//go:embed callsdriver/put.go.txt
	callsPut []byte

	callsDriver = driverSource{name: "calls", main: callsMain, withKV: callsDo, withoutKV: callsPut}
)

// calls measures two versions side by side without HTTP: it calls methods of three nodes in
// one process.
type calls struct {
	dir        string
	rounds     int
	valueBytes int
	duration   time.Duration
	sync       time.Duration // how much longer than the disk's each sync takes
	old, new   string        // revisions; new may be empty
	out        io.Writer
}

// callKinds are the measured kinds of calls, in this order.
var callKinds = []struct {
	title string
	callRequest
}{
	{"put, at the leader, 256 goroutines", callRequest{Put: true, Goroutines: 256}},
	{"put, at a follower, 256 goroutines", callRequest{Put: true, Follower: true, Goroutines: 256}},
	{"put, at a follower, 1 goroutine", callRequest{Put: true, Follower: true, Goroutines: 1}},
	{"get, linearizable, at the leader, 256 goroutines", callRequest{Goroutines: 256}},
	{"get, linearizable, at a follower, 256 goroutines", callRequest{Follower: true, Goroutines: 256}},
	{"get, linearizable, at a follower, 1 goroutine", callRequest{Follower: true, Goroutines: 1}},
}

// callRequest is a line to the driver, and callAnswer one from it.
type callRequest struct {
	Put        bool          `json:"put"`
	Ops        int           `json:"ops"` // puts of a request, 0 is 1
	Follower   bool          `json:"follower"`
	Goroutines int           `json:"goroutines"`
	ValueBytes int           `json:"value_bytes"`
	Duration   time.Duration `json:"duration"`
}

type callAnswer struct {
	Calls  float64       `json:"calls"`
	Took   time.Duration `json:"took"`
	Allocs float64       `json:"allocs"`
	CPU    time.Duration `json:"cpu"`
}

func newCallsCommand() *cobra.Command {
	var c calls
	cmd := &cobra.Command{
		Use:   "calls OLD [NEW]",
		Short: "Measure two versions side by side without HTTP; each is a git revision, NEW is this version",
		Args:  cobra.RangeArgs(1, 2),
	}
	cmd.Flags().StringVar(&c.dir, "dir", "", "directory on the disk to measure (default the one for temporary files)")
	cmd.Flags().IntVar(&c.rounds, "rounds", 9, "turns of each version, 1 or more")
	cmd.Flags().IntVar(&c.valueBytes, "value-bytes", 256, "size of a value")
	cmd.Flags().DurationVar(&c.duration, "duration", time.Second, "how long a measurement takes")
	cmd.Flags().DurationVar(&c.sync, "sync", 0, "how much longer each sync takes than on this disk")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c.out, c.old = cmd.OutOrStdout(), args[0]
		if len(args) == 2 {
			c.new = args[1]
		}
		if c.rounds < 1 || c.duration <= 0 || c.valueBytes < 0 || c.sync < 0 {
			return fmt.Errorf("rounds %d, duration %v, value-bytes %d, sync %v: rounds and duration must be above 0, the others not below it", c.rounds, c.duration, c.valueBytes, c.sync)
		}
		return withDir(c.dir, func(dir string) error { return c.run(cmd.Context(), dir) })
	}
	return cmd
}

// run builds the drivers, gives them turns and prints the tables.
func (c *calls) run(ctx context.Context, dir string) error {
	var contenders []contender
	for _, v := range []struct{ revision, dir string }{{c.new, "new"}, {c.old, "old"}} {
		program, err := callsDriver.build(ctx, v.revision, filepath.Join(dir, v.dir))
		if err != nil {
			return fmt.Errorf("%s: %w", v.dir, err)
		}
		d, err := program.start(program.dir, nil, filepath.Join(program.dir, "data"), c.sync.String())
		if err != nil {
			return fmt.Errorf("%s: %w", v.dir, err)
		}
		defer d.stop()
		contenders = append(contenders, contender{d.name, func() ([]float64, error) { return c.turn(d) }})
	}
	if err := describe(c.out, "Two versions, called without HTTP", dir); err != nil {
		return err
	}
	var titles []string
	for _, k := range callKinds {
		titles = append(titles, k.title)
	}
	n := len(titles)
	columns, err := inTurn(ctx, c.rounds, 3*n, contenders)
	if err != nil {
		return err
	}
	fmt.Fprintf(c.out, "Three nodes in one process, values of %d bytes, each sync %v longer than the disk's, %d rounds.\n", c.valueBytes, c.sync, c.rounds)
	rates := sideBySide("calls", titles, columns[:n], rate)
	rates.write(c.out)
	allocs := sideBySide("allocations of all three nodes, a call", titles, columns[n:2*n], func(v float64) string { return fmt.Sprintf("%.1f", v) })
	allocs.write(c.out)
	cpu := sideBySide("processor time of all three nodes, a call", titles, columns[2*n:], func(ns float64) string { return took(time.Duration(ns)) })
	cpu.write(c.out)
	return nil
}

// turn returns the rates of all kinds of call, then their allocations, then their
// processor time in nanoseconds.
func (c *calls) turn(d *driver) ([]float64, error) {
	var rates, allocs, cpu []float64
	for _, k := range callKinds {
		r := k.callRequest
		r.ValueBytes, r.Duration = c.valueBytes, c.duration
		var a callAnswer
		if err := d.ask(r, &a); err != nil {
			return nil, fmt.Errorf("%s: %w", k.title, err)
		}
		rates = append(rates, a.Calls/a.Took.Seconds())
		allocs = append(allocs, a.Allocs/a.Calls)
		cpu = append(cpu, float64(a.CPU)/a.Calls)
	}
	return append(append(rates, allocs...), cpu...), nil
}
