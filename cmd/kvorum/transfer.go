package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func newTransferCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "transfer [NAME] [flags]",
		Short: "Hand leadership to another node",
		Long: `Transfer hands leadership to the named voter, or, without a name, to the one
that is ready first. Writes wait for a moment meanwhile; none is lost.`,
		Example: "  kvorum transfer n2",
		Args:    rangeArgs(0, 1),
	}
	flags := addClientFlags(cmd, adminTimeout)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := flags.open(cmd, 1)
		if err != nil {
			return err
		}
		defer c.close()
		body, err := encodeNode(args, false)
		if err != nil {
			return err
		}
		if err := c.admin(cmd.Context(), "/admin/transfer", body); err != nil {
			return err
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s leads now\n", nodeOr(args, "another node"))
		return err
	}
	return cmd
}
