package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func newSnapshotCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "snapshot [NAME] [flags]",
		Short: "Take a snapshot of a node now, and drop the log that it covers",
		Long: `Snapshot makes the named node take a snapshot and drop the log that it covers.
Without a name it is the node at --endpoints, which must be one endpoint. Nodes do
this by themselves when the log has grown or their disk is short of room. The
command makes room earlier. The node needs as much room as the snapshot takes.

A follower that lacks a part of the dropped log gets the snapshot instead.`,
		Example: `  kvorum snapshot --endpoints 127.0.0.1:8002
  kvorum snapshot n2`,
		Args: rangeArgs(0, 1),
	}
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
		s, err := c.Snapshot(cmd.Context(), name)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: snapshot of %d bytes at index %d; the log has %d bytes, %d before\n",
			s.ID, s.Bytes, s.Index, s.LogBytesAfter, s.LogBytesBefore)
		return err
	}
	return cmd
}
