package main

import (
	"cmp"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/kvorum/kvorum/kv"
)

func newLeaveCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "leave [NAME] [flags]",
		Short: "Remove a node from the cluster for good",
		Long: `Leave removes the named node from the cluster, or the node at the one endpoint
given. The node then stops; to add it again it needs an empty data directory.
A node that is only to be restarted must not leave. A removal that would leave
too few voters that live, keep up and have room on their disks is refused, unless
forced.`,
		Example: `  kvorum leave n3
  kvorum leave --endpoints 127.0.0.1:8003`,
		Args: rangeArgs(0, 1),
	}
	var force bool
	cmd.Flags().BoolVar(&force, "force", false, "remove it even if too few live voters are left then")
	flags := addClientFlags(cmd, adminTimeout)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		name, err := nodeName(args, "this node")
		if err != nil {
			return err
		}
		c, err := flags.open(cmd)
		if err != nil {
			return err
		}
		defer c.Close()
		if err := c.Leave(cmd.Context(), kv.LeaveRequest{ID: name, Force: force}); err != nil {
			return err
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s left the cluster\n", cmp.Or(name, "the node"))
		return err
	}
	return cmd
}
