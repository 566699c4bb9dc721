package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func newDelCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "del KEY [flags]",
		Short: "Delete a key",
		Long: `Del deletes a key. A key that does not exist is an error with exit code 1. A
delete whose answer was lost is reported as "outcome unknown" and not sent again.`,
		Example: "  kvorum del greeting",
		Args:    exactArgs(1),
	}
	addIdempotencyFlag(cmd)
	flags := addClientFlags(cmd, defaultTimeout)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := flags.open(cmd)
		if err != nil {
			return err
		}
		defer c.Close()
		written, err := c.Delete(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "deleted, revision %d\n", written.Revision)
		return err
	}
	return cmd
}
