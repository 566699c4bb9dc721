package main

import (
	"encoding/json"
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
		who, body := "another node", []byte(nil)
		if len(args) == 1 {
			who = args[0]
			if body, err = json.Marshal(map[string]string{"id": who}); err != nil {
				return fmt.Errorf("encode request: %w", err)
			}
		}
		if err := c.admin(cmd.Context(), "/admin/transfer", body); err != nil {
			return err
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s leads now\n", who)
		return err
	}
	return cmd
}
