package main

import (
	"bufio"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
)

// The driver's sources: main for both versions, do for a version with package kv, and put
// for one without it. Their names do not end in .go, because they are not part of this
// module.
var (
	//go:embed callsdriver/main.go.txt
	driverMain []byte
	//go:embed callsdriver/do.go.txt
	driverDo []byte
	//go:embed callsdriver/put.go.txt
	driverPut []byte
)

// calls measures two versions side by side without HTTP: it calls methods of three nodes in
// one process.
type calls struct {
	dir        string
	rounds     int
	valueBytes int
	duration   time.Duration
	old, new   string // revisions; new may be empty
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
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c.out, c.old = cmd.OutOrStdout(), args[0]
		if len(args) == 2 {
			c.new = args[1]
		}
		if c.rounds < 1 || c.duration <= 0 || c.valueBytes < 0 {
			return fmt.Errorf("rounds %d, duration %v, value-bytes %d: rounds and duration must be above 0, value-bytes not below it", c.rounds, c.duration, c.valueBytes)
		}
		return withDir(c.dir, func(dir string) error { return c.run(cmd.Context(), dir) })
	}
	return cmd
}

// run builds the drivers, gives them turns and prints the tables.
func (c *calls) run(ctx context.Context, dir string) error {
	var contenders []contender
	for _, v := range []struct{ revision, dir string }{{c.new, "new"}, {c.old, "old"}} {
		d, err := startDriver(ctx, v.revision, filepath.Join(dir, v.dir))
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
	fmt.Fprintf(c.out, "Three nodes in one process, values of %d bytes, %d rounds.\n", c.valueBytes, c.rounds)
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
		a, err := d.measure(r)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", k.title, err)
		}
		rates = append(rates, a.Calls/a.Took.Seconds())
		allocs = append(allocs, a.Allocs/a.Calls)
		cpu = append(cpu, float64(a.CPU)/a.Calls)
	}
	return append(append(rates, allocs...), cpu...), nil
}

// driver is a process with three nodes of one version.
type driver struct {
	name string
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Reader
}

// startDriver builds the driver into a version and starts it. It returns when the
// nodes serve.
func startDriver(ctx context.Context, revision, dir string) (*driver, error) {
	d := &driver{name: revision}
	tree := ".."
	if revision == "" {
		d.name = "this version"
	} else {
		tree = filepath.Join(dir, "tree")
		if err := exportRevision(ctx, revision, tree); err != nil {
			return nil, err
		}
	}
	program, err := buildDriver(ctx, tree, dir)
	if err != nil {
		return nil, err
	}
	d.cmd = exec.Command(program, filepath.Join(dir, "data"))
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return nil, err
	}
	defer log.Close() // the process has its own descriptor
	d.cmd.Stderr = log
	if d.in, err = d.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := d.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	d.out = bufio.NewReader(out)
	if err := d.cmd.Start(); err != nil {
		return nil, err
	}
	if _, err := d.out.ReadString('\n'); err != nil {
		d.stop()
		said, _ := os.ReadFile(log.Name()) // its output is the only information
		return nil, fmt.Errorf("the nodes do not serve: %w\n%s", err, said)
	}
	return d, nil
}

// buildDriver builds the driver as a command of the module in tree, without changing tree,
// and returns the program's path.
func buildDriver(ctx context.Context, tree, dir string) (string, error) {
	tree, err := filepath.Abs(tree)
	if err != nil {
		return "", err
	}
	calling := driverDo
	if _, err := os.Stat(filepath.Join(tree, "kv")); errors.Is(err, os.ErrNotExist) {
		calling = driverPut
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	overlay := struct{ Replace map[string]string }{map[string]string{}}
	for name, source := range map[string][]byte{"main.go": driverMain, "calling.go": calling} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, source, 0o600); err != nil {
			return "", err
		}
		overlay.Replace[filepath.Join(tree, "cmd", "calls", name)] = path
	}
	list, err := json.Marshal(overlay)
	if err != nil {
		return "", err
	}
	listPath, program := filepath.Join(dir, "overlay.json"), filepath.Join(dir, "calls")
	if err := os.WriteFile(listPath, list, 0o600); err != nil {
		return "", err
	}
	build := exec.CommandContext(ctx, "go", "build", "-overlay", listPath, "-o", program, "./cmd/calls")
	build.Dir = tree
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build: %w\n%s", err, out)
	}
	return program, nil
}

// measure makes the driver make calls.
func (d *driver) measure(r callRequest) (a callAnswer, err error) {
	line, err := json.Marshal(r)
	if err != nil {
		return a, err
	}
	if _, err := d.in.Write(append(line, '\n')); err != nil {
		return a, err
	}
	answer, err := d.out.ReadBytes('\n')
	if err != nil {
		return a, err
	}
	return a, json.Unmarshal(answer, &a)
}

// stop ends the driver and waits for its end.
func (d *driver) stop() {
	_ = d.cmd.Process.Kill() // an error means that it has ended
	_ = d.cmd.Wait()         // the error says that it was killed
}
