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
	flags := addClientFlags(cmd, defaultTimeout)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := checkKey(args[0]); err != nil {
			return err
		}
		c, err := flags.open(cmd, 1)
		if err != nil {
			return err
		}
		defer c.close()
		revision, err := c.del(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "deleted, revision %s\n", revision)
		return err
	}
	return cmd
}
