package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/kvorum/kvorum/kv"
)

func newJoinCommand() *cobra.Command {
	var req kv.JoinRequest
	cmd := &cobra.Command{
		Use:   "join --id NAME --peer-addr HOST:PORT --http-addr HOST:PORT [flags]",
		Short: "Add a running node to the cluster",
		Long: `Join asks the cluster at --endpoints to add a node that runs and is in no
cluster yet. Its addresses are those that it advertises. The node copies the
cluster's state first and votes once it is up to date.`,
		Example: `  kvorum join --id n4 --peer-addr 127.0.0.1:7004 --http-addr 127.0.0.1:8004`,
		Args:    exactArgs(0),
	}
	cmd.Flags().StringVar(&req.ID, "id", "", "name of the node to add")
	cmd.Flags().StringVar(&req.PeerAddr, "peer-addr", "", "address the node advertises to its peers")
	cmd.Flags().StringVar(&req.HTTPAddr, "http-addr", "", "HTTP address the node advertises")
	flags := addClientFlags(cmd, adminTimeout)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if req.ID == "" || req.PeerAddr == "" || req.HTTPAddr == "" {
			return usagef("--id, --peer-addr and --http-addr are required")
		}
		c, err := flags.open(cmd)
		if err != nil {
			return err
		}
		defer c.Close()
		if _, err := c.Join(cmd.Context(), req); err != nil {
			return err
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s joined\n", req.ID)
		return err
	}
	return cmd
}
