package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := newRootCommand().ExecuteContext(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

// newRootCommand returns the command with a subcommand for each measurement, and one for
// all of them.
func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "bench",
		Short:         "Measure Kvorum beside what does the same",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	measures := []*cobra.Command{newEmbeddedCommand(), newStateCommand(), newHistoryCommand(), newTransactionsCommand(), newServedCommand(), newFailoverCommand()}
	root.AddCommand(measures...)
	root.AddCommand(newVersusCommand(), newCallsCommand(), newStateVersusCommand(), newWatchCommand()) // not part of all: they need another version, or etcd
	root.AddCommand(&cobra.Command{
		Use:   "all",
		Short: "Run every other command with its defaults",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			for _, m := range measures {
				m.SetContext(cmd.Context())
				if err := m.RunE(m, nil); err != nil {
					return fmt.Errorf("%s: %w", m.Name(), err)
				}
			}
			return nil
		},
	})
	return root
}
