package main

import (
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/kvorum/kvorum/client"
)

func newMembersCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "members [flags]",
		Short: "List the cluster's members",
		Long: `Members lists the cluster's members, in the view of the first endpoint that answers.
COMMANDS is the highest version of a command in the log that a member understands by
its announcement, 0 for none.`,
		Example: "  kvorum members",
		Args:    exactArgs(0),
	}
	flags := addClientFlags(cmd, defaultTimeout)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := flags.open(cmd)
		if err != nil {
			return err
		}
		defer c.Close()
		members, err := c.Members(cmd.Context())
		if err != nil {
			return err
		}
		return printMembers(cmd.OutOrStdout(), members)
	}
	return cmd
}

// printMembers prints members as a table.
func printMembers(out io.Writer, members []client.Member) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tHTTP\tPEER\tVOTER\tLEADER\tCOMMANDS")
	for _, m := range members {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%d\n", m.ID, m.HTTPAddr, m.PeerAddr,
			yesNo(m.Voter), yesNo(m.Leader), m.CommandVersion)
	}
	return w.Flush()
}
