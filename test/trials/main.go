// Command trials runs every trial (package internal/testkit) and prints the table of
// docs/reliability.md: the input, the result with commit 92da3df, and the result now. It
// exits with status 1 if a trial fails or has no test.
//
// Run it at the root of the module: go run ./test/trials
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"

	"github.com/kvorum/kvorum/internal/testkit"
)

// event is a line of `go test -json`.
type event struct {
	Action, Package, Test, Output string
	Key, Value                    string // of an attr
}

// result is the result of one test.
type result struct {
	id, outcome string
	status      string // pass, fail or skip
	output      strings.Builder
}

func main() {
	if err := run(os.Stdout, os.Stderr, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "trials:", err)
		os.Exit(1)
	}
}

// run tests all packages, or those in args, and prints the table.
func run(out, errOut io.Writer, args []string) error {
	if len(args) == 0 {
		args = []string{"./..."}
	}
	cmd := exec.Command("go", append([]string{"test", "-json", "-count=1", "-timeout=60m", "-run", "^TestTrial_"}, args...)...)
	cmd.Stderr = errOut
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	results, err := collect(pipe)
	if err := errors.Join(err, cmd.Wait()); err != nil {
		printFailures(errOut, results)
		return err
	}
	return printTable(out, results)
}

// collect reads the events of all tests whose name begins with TestTrial_.
func collect(r io.Reader) ([]*result, error) {
	var order []*result
	byName := map[string]*result{}
	for dec := json.NewDecoder(r); ; {
		var e event
		err := dec.Decode(&e)
		if errors.Is(err, io.EOF) {
			return order, nil
		}
		if err != nil {
			return order, fmt.Errorf("go test -json: %w", err)
		}
		name, _, _ := strings.Cut(e.Test, "/")
		if !strings.HasPrefix(name, "TestTrial_") {
			continue
		}
		key := e.Package + " " + name
		res := byName[key]
		if res == nil {
			res = &result{id: idOf(name)}
			byName[key] = res
			order = append(order, res)
		}
		res.observe(e, e.Test == name)
	}
}

// idOf returns the id in a test's name: TestTrial_B7_LostTail has B7.
func idOf(name string) string {
	id, _, _ := strings.Cut(strings.TrimPrefix(name, "TestTrial_"), "_")
	return id
}

// observe handles one event of the test, or of a sub-test if whole is false.
func (r *result) observe(e event, whole bool) {
	switch e.Action {
	case "attr":
		switch e.Key {
		case testkit.TrialAttr:
			r.id = e.Value
		case testkit.OutcomeAttr:
			r.outcome = e.Value
		}
	case "output":
		r.output.WriteString(e.Output)
	case "pass", "fail", "skip":
		if whole {
			r.status = e.Action
		}
	}
}

// printFailures prints the output of the failed tests.
func printFailures(w io.Writer, results []*result) {
	for _, r := range results {
		if r.status != "pass" && r.status != "skip" {
			fmt.Fprint(w, r.output.String())
		}
	}
}

// printTable prints a row for each trial, and returns an error that names those
// without a test.
func printTable(w io.Writer, results []*result) error {
	fmt.Fprintln(w, "| id | input | commit 92da3df | now |")
	fmt.Fprintln(w, "|---|---|---|---|")
	var missing []string
	for _, trial := range trials {
		var now []string
		for _, r := range results {
			if r.id == trial.id {
				now = append(now, r.describe())
			}
		}
		if len(now) == 0 {
			missing = append(missing, trial.id)
			now = []string{"no test"}
		}
		fmt.Fprintf(w, "| %s | %s | %s | %s |\n", trial.id, trial.input, trial.before, strings.Join(now, "; "))
	}
	if len(missing) > 0 {
		return fmt.Errorf("no test of %s", strings.Join(missing, ", "))
	}
	return nil
}

// describe returns the outcome, or the reason why there is none.
func (r *result) describe() string {
	switch {
	case r.status == "skip":
		return "skipped"
	case r.outcome == "":
		return "passed"
	}
	return r.outcome
}
