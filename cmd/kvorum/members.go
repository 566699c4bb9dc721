package main

import (
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/kvorum/kvorum/cluster"
)

func newMembersCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "members [flags]",
		Short:   "List the cluster's members",
		Long:    "Members lists the cluster's members as the first endpoint that answers knows them.",
		Example: "  kvorum members",
		Args:    exactArgs(0),
	}
	flags := addClientFlags(cmd, defaultTimeout)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := flags.open(cmd, 1)
		if err != nil {
			return err
		}
		defer c.close()
		body, _, err := c.status(cmd.Context())
		if err != nil {
			return err
		}
		status, err := parseStatus(body)
		if err != nil {
			return err
		}
		if len(status.Members) == 0 {
			return fmt.Errorf("node %s is in no cluster yet", status.ID)
		}
		return printMembers(cmd.OutOrStdout(), status)
	}
	return cmd
}

// printMembers prints a status's members as a table.
func printMembers(out io.Writer, s cluster.Status) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tHTTP\tPEER\tVOTER\tLEADER")
	for _, m := range s.Members {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", m.ID, m.HTTPAddr, m.PeerAddr,
			yesNo(m.Voter), yesNo(s.Leader != nil && s.Leader.ID == m.ID))
	}
	return w.Flush()
}
