package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/kvorum/kvorum/client"
)

// Exit codes of the program.
const (
	exitOK    = 0
	exitError = 1 // the command failed, or its key does not exist
	exitUsage = 2 // the command line or the configuration is wrong; nothing was tried
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// The first signal cancels ctx and restores the default action of signals, so that a
	// second one ends the process at once.
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run executes one command line and returns its exit code. It ends early when ctx is
// cancelled.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root := newRootCommand()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.InitDefaultCompletionCmd() // here, because it uses the output that is set before
	err := checkCommand(root, args)
	if err == nil {
		err = root.ExecuteContext(ctx)
	}
	if err == nil {
		return exitOK
	}
	fmt.Fprintln(stderr, "kvorum: "+oneLine(err))
	var usage *usageError
	if errors.As(err, &usage) || errors.Is(err, client.ErrUsage) {
		return exitUsage
	}
	return exitError
}

// usageError is a mistake in the command line, the environment or the configuration file.
// Nothing was tried, and the same command can never succeed.
type usageError struct{ err error }

// Error implements error.
func (e *usageError) Error() string { return e.err.Error() }

// Unwrap returns the mistake itself.
func (e *usageError) Unwrap() error { return e.err }

// usagef returns a usageError with the given text.
func usagef(format string, args ...any) error {
	return &usageError{fmt.Errorf(format, args...)}
}

// oneLine returns err's text with its lines joined by semicolons, and with the names of flags.
func oneLine(err error) string {
	return inFlags.Replace(strings.ReplaceAll(strings.TrimSpace(err.Error()), "\n", "; "))
}

func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "kvorum",
		Short: "A strongly consistent, replicated key-value store",
		Long: `Kvorum is a strongly consistent, replicated key-value store in one binary.
Run "kvorum demo" for a cluster to try, "kvorum server" for one node.`,
		SilenceErrors: true, // run prints them
		SilenceUsage:  true,
		Args:          cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			return unknownCommand(cmd, args[0])
		},
	}
	root.SuggestionsMinimumDistance = 2
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usagef(`%w; see "%s --help"%s`, err, cmd.CommandPath(), dashHint(cmd))
	})
	root.AddCommand(
		newServerCommand(), newDemoCommand(),
		newPutCommand(), newGetCommand(), newDelCommand(), newListCommand(), newHistoryCommand(), newWatchCommand(), newIncrCommand(), newTouchCommand(), newPersistCommand(), newLeaseCommand(), newTxnCommand(), newCheckCommand(),
		newStatusCommand(), newMembersCommand(), newJoinCommand(), newLeaveCommand(), newTransferCommand(), newSnapshotCommand(), newCompactCommand(), newSettingsCommand(), newRecoverCommand(),
		newImportCommand(), newExportCommand(), newVersionCommand(),
	)
	for _, cmd := range root.Commands() {
		if arguments(cmd) != "" {
			cmd.Long += "\n\nArguments that begin with \"-\" follow \"--\", after all flags:\n  " + dashUse(cmd)
		}
	}
	root.SetHelpCommand(newHelpCommand())
	root.InitDefaultHelpCmd() // here, so that checkCommand finds it
	return root
}

// checkCommand refuses a command that does not exist, with any flags: with --help cobra would
// print help instead of an error.
func checkCommand(root *cobra.Command, args []string) error {
	cmd, rest, err := root.Find(args)
	if err != nil || !cmd.HasSubCommands() {
		return nil // Execute returns the error, if there is one
	}
	for _, arg := range rest {
		if arg == "--" || strings.HasPrefix(arg, "__") { // cobra's own, for completion
			return nil
		}
		if !strings.HasPrefix(arg, "-") {
			return unknownCommand(cmd, arg)
		}
	}
	return nil
}

// unknownCommand returns the error for a command that parent does not have.
func unknownCommand(parent *cobra.Command, name string) error {
	hint := fmt.Sprintf(`see "%s --help"`, parent.CommandPath())
	if near := parent.SuggestionsFor(name); len(near) > 0 {
		hint = fmt.Sprintf("did you mean %q?", near[0])
	}
	return usagef("unknown command %q; %s", name, hint)
}

// newHelpCommand returns cobra's help command, which also refuses a command that does not
// exist.
func newHelpCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "help [COMMAND]",
		Short:   "Show the help of a command",
		Example: "  kvorum help put",
		RunE: func(help *cobra.Command, args []string) error {
			if err := checkCommand(help.Root(), args); err != nil {
				return err
			}
			cmd, _, err := help.Root().Find(args)
			if err != nil {
				return usagef("%w", err)
			}
			cmd.InitDefaultHelpFlag()
			return cmd.Help()
		},
	}
}

// arguments returns the arguments in a command's use, "" if it takes none.
func arguments(cmd *cobra.Command) string {
	_, use, _ := strings.Cut(strings.TrimSuffix(cmd.Use, " [flags]"), " ")
	if strings.HasPrefix(use, "-") { // flags that are required
		return ""
	}
	return use
}

// dashUse returns the use of a command with arguments that begin with "-".
func dashUse(cmd *cobra.Command) string { return cmd.CommandPath() + " -- " + arguments(cmd) }

// dashHint returns a hint for an error whose cause may be such an argument.
func dashHint(cmd *cobra.Command) string {
	if arguments(cmd) == "" {
		return ""
	}
	return fmt.Sprintf(`; arguments that begin with "-" follow "--": %s`, dashUse(cmd))
}

// exactArgs is cobra.ExactArgs with a usageError that shows the use.
func exactArgs(n int) cobra.PositionalArgs { return rangeArgs(n, n) }

// rangeArgs is cobra.RangeArgs with a usageError that shows the use.
func rangeArgs(least, most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < least || len(args) > most {
			return usagef("wrong number of arguments; use: %s", cmd.UseLine())
		}
		return nil
	}
}
