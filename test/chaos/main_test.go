package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/kvorum/kvorum/test/chaos/nemesis"
)

// TestExitCode shows the exit codes of the program.
func TestExitCode(t *testing.T) {
	tests := []struct {
		err  error
		want int
	}{
		{nil, exitPassed},
		{errBroken, exitBroken},
		{fmt.Errorf("control x: %w", errBroken), exitBroken},
		{errUncovered, exitUncovered},
		{usagef("no"), exitUsage},
		{errors.New("no lab"), exitUncovered},
		{errors.Join(errUncovered, errBroken), exitBroken},
	}
	for _, test := range tests {
		if got := exitCode(test.err); got != test.want {
			t.Errorf("%v: exit code %d, want %d", test.err, got, test.want)
		}
	}
}

// TestCommand_Usage shows which command lines are refused before anything is tried.
func TestCommand_Usage(t *testing.T) {
	for _, line := range []string{
		"run --seconds 0", "run --seconds x", "run --nodes 2", "run --kind moon", "run --faults nosuch", "run more",
		"run --control nosuch", "run --clients 0", "run --at-once 4", "run --seed -1", "run --binary /nosuch/binary",
		"docker --seconds 0", "soak --hours 0", "controls nosuch", "sum", "sum /nosuch", "nosuch",
		"versus --rounds 0", "versus --writers 0", "versus --timeout 0s", "versus --settle -1s", "versus --kind docker", "versus --faults nosuch", "versus more",
	} {
		root := newRootCommand()
		root.SetArgs(strings.Fields(line))
		root.SetOut(new(bytes.Buffer))
		root.SetErr(new(bytes.Buffer))
		if err := root.ExecuteContext(t.Context()); exitCode(err) != exitUsage {
			t.Errorf("chaos %s: %v, want an error of usage", line, err)
		}
	}
}

// TestOptions_Again shows the command that repeats a run.
func TestOptions_Again(t *testing.T) {
	o := options{command: "run", seconds: 60, seed: 7, nodes: 5, clients: 4, atOnce: 2, faults: []string{"kill all", "loss"}}
	want := `go run ./test/chaos run --seed 7 --clients 4 --seconds 60 --at-once 2 --nodes 5 --kind proxy --faults "kill all,loss"`
	if got := o.again("proxy"); got != want {
		t.Errorf("again: %s\nwant:  %s", got, want)
	}
}

// TestOptions_Chosen shows which faults a run makes: the named ones, or all. A soak makes
// those that processes survive, and a control those that make its error visible.
func TestOptions_Chosen(t *testing.T) {
	named := options{faults: []string{"loss", "kill all"}}
	if got := named.chosen(); len(got) != 2 || got[0].Name != "kill all" {
		t.Errorf("named: %v", got)
	}
	if got := (&options{}).chosen(); len(got) != len(nemesis.All()) {
		t.Errorf("all: %d, want %d", len(got), len(nemesis.All()))
	}
	for _, f := range (&options{sparing: true}).chosen() {
		if !f.Spares() {
			t.Errorf("a soak has %q", f.Name)
		}
	}
	for _, c := range controls() {
		if got := (&options{control: c.name}).chosen(); len(got) != max(1, len(c.faults)) {
			t.Errorf("control %s has %d faults, want those of %v", c.name, len(got), c.faults)
		}
	}
}

// TestConclude_NoProgram shows that a missing program is an error of its own, and that
// nothing is left.
func TestConclude_NoProgram(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	o := options{command: "run", seconds: 1, seed: 1, nodes: 3, clients: 1, atOnce: 1, out: t.TempDir()}
	if _, err := conclude(ctx, new(bytes.Buffer), o); exitCode(err) != exitUncovered {
		t.Errorf("conclude: %v", err)
	}
}

// TestGrowth shows the growth along the line that fits values best.
func TestGrowth(t *testing.T) {
	tests := []struct {
		values []float64
		want   float64
	}{
		{nil, 0}, {[]float64{5}, 0}, {[]float64{5, 5, 5}, 0}, {[]float64{1, 2, 3}, 2}, {[]float64{3, 1, 3, 1, 3}, 0}, {[]float64{10, 8}, -2},
	}
	for _, test := range tests {
		if got := growth(test.values); got < test.want-1e-9 || got > test.want+1e-9 {
			t.Errorf("growth of %v: %v, want %v", test.values, got, test.want)
		}
	}
}
