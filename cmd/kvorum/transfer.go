package main

import (
	"cmp"
	"fmt"

	"github.com/spf13/cobra"
)

func newTransferCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "transfer [NAME] [flags]",
		Short: "Transfer leadership to another node",
		Long: `Transfer makes the named voter the leader. Without a name it chooses the voter that
is ready first. Writes wait for a moment meanwhile; none is lost.`,
		Example: "  kvorum transfer n2",
		Args:    rangeArgs(0, 1),
	}
	flags := addClientFlags(cmd, adminTimeout)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		name, err := nodeName(args, "any voter")
		if err != nil {
			return err
		}
		c, err := flags.open(cmd)
		if err != nil {
			return err
		}
		defer c.Close()
		if err := c.Transfer(cmd.Context(), name); err != nil {
			return err
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s leads now\n", cmp.Or(name, "another node"))
		return err
	}
	return cmd
}
