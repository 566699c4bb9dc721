// Command chaos makes faults in a cluster of real processes, or of the shipped containers,
// while clients use it, and checks that no promise is broken. It writes a page with the
// faults, the clients' results, and the findings.
//
//	go run ./test/chaos run --seconds 120
//
// Its exit code is 0 if everything was covered and no promise was broken, 1 if a promise
// was broken, 2 for a wrong command line, and 3 if something was not covered or the run was
// interrupted. `go run` turns all codes except 0 into 1; "make chaos" builds the program.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// Exit codes of the program.
const (
	exitPassed    = 0
	exitBroken    = 1 // a promise was broken
	exitUsage     = 2 // the command line is wrong; nothing was run
	exitUncovered = 3 // no promise was broken, and something was not covered
)

// The errors of commands that broke a promise or did not cover everything.
var (
	errBroken    = errors.New("a promise was broken")
	errUncovered = errors.New("not all was covered")
)

// usageError is a mistake in the command line.
type usageError struct{ err error }

// Error implements error.
func (e *usageError) Error() string { return e.err.Error() }

// Unwrap returns the mistake itself.
func (e *usageError) Unwrap() error { return e.err }

// usagef returns a usageError with the given text.
func usagef(format string, args ...any) error { return &usageError{fmt.Errorf(format, args...)} }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// The first signal ends the run in order, the second one ends the process.
	context.AfterFunc(ctx, stop)
	err := newRootCommand().ExecuteContext(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
	}
	os.Exit(exitCode(err))
}

// exitCode returns the exit code for a command's error. A run that could not be made counts
// as not covered.
func exitCode(err error) int {
	var usage *usageError
	switch {
	case err == nil:
		return exitPassed
	case errors.As(err, &usage):
		return exitUsage
	case errors.Is(err, errBroken):
		return exitBroken
	}
	return exitUncovered
}

func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "chaos",
		Short: "Break a cluster of real processes, and check that no promise is broken",
		Long: `Chaos breaks a cluster on purpose while clients use it, and checks what they saw.
Exit codes: 0 passed, 1 a promise was broken, 2 usage, 3 not all was covered.`,
		SilenceErrors: true, // main prints them
		SilenceUsage:  true,
		Args:          cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			return usagef("there is no command %q", args[0])
		},
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usagef(`%w; see "%s --help"`, err, cmd.CommandPath())
	})
	root.AddCommand(newRunCommand(), newDockerCommand(), newSoakCommand(), newControlsCommand(), newSumCommand(), newFaultsCommand(), newVersusCommand())
	for _, cmd := range append(root.Commands(), root) {
		check := cmd.Args
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			if err := check(cmd, args); err != nil {
				return &usageError{err}
			}
			return nil
		}
	}
	return root
}
