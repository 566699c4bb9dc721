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
		Long: `Leave removes the named node from the cluster. Without a name it removes the node
at --endpoints, which must be one endpoint. The node then stops; it needs an empty
data directory before it can be added again. Do not use it to restart a node. A
removal is refused, unless forced, if too few voters would be left that are alive,
up to date and have room on their disks.`,
		Example: `  kvorum leave n3
  kvorum leave --endpoints 127.0.0.1:8003`,
		Args: rangeArgs(0, 1),
	}
	var force bool
	cmd.Flags().BoolVar(&force, "force", false, "remove it even if too few live voters would be left")
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
