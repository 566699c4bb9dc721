package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/spf13/cobra"

	"github.com/kvorum/kvorum/cluster"
)

func newSnapshotCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "snapshot [NAME] [flags]",
		Short: "Take a snapshot of a node now, and drop the log that it covers",
		Long: `Snapshot has the named node, or the node at the one endpoint given, take a
snapshot and drop the log that the snapshot covers. Nodes do this by themselves: as
the log grows, and when their disk is short of room. By hand it makes room early.
The node needs as much room as the snapshot takes.

A follower that lacks some of the dropped log gets the snapshot instead.`,
		Example: `  kvorum snapshot --endpoints 127.0.0.1:8002
  kvorum snapshot n2`,
		Args: rangeArgs(0, 1),
	}
	flags := addClientFlags(cmd, adminTimeout)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := flags.open(cmd, 1)
		if err != nil {
			return err
		}
		defer c.close()
		if len(args) == 0 && len(c.endpoints) != 1 {
			return usagef("name the node, or give its one endpoint: another node's snapshot makes no room on this one")
		}
		body, err := encodeNode(args, false)
		if err != nil {
			return err
		}
		s, err := c.snapshot(cmd.Context(), body)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: snapshot of %d bytes at index %d; the log has %d bytes, %d before\n",
			s.ID, s.Bytes, s.Index, s.LogBytesAfter, s.LogBytesBefore)
		return err
	}
	return cmd
}

// snapshot has a node take a snapshot: the one that body names, or the one that is
// asked.
func (c *client) snapshot(ctx context.Context, body []byte) (cluster.SnapshotResult, error) {
	var result cluster.SnapshotResult
	answer, _, err := c.call(ctx, request{method: http.MethodPost, path: "/admin/snapshot", body: body, json: true, write: true}, maxAnswerBytes)
	if err != nil {
		return result, err
	}
	if err := json.Unmarshal(answer, &result); err != nil {
		return result, fmt.Errorf("read the answer: %w", err)
	}
	return result, nil
}
