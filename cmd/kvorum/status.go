package main

import (
	"cmp"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/kvorum/kvorum/client"
	"github.com/kvorum/kvorum/kv"
)

func newStatusCommand() *cobra.Command {
	var raw bool
	cmd := &cobra.Command{
		Use:   "status [flags]",
		Short: "Show a node's status",
		Long: `Status shows the status of the first node that answers, and of its cluster. The
exit code is 1 if that node is not ready to serve, so the command can be a
container's health check.`,
		Example: `  kvorum status --endpoints 127.0.0.1:8002
  kvorum status --json`,
		Args: exactArgs(0),
	}
	cmd.Flags().BoolVar(&raw, "json", false, "print the node's own JSON")
	flags := addClientFlags(cmd, defaultTimeout)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := flags.open(cmd)
		if err != nil {
			return err
		}
		defer c.Close()
		status, err := c.Status(cmd.Context())
		if err != nil {
			return err
		}
		if raw {
			_, err = cmd.OutOrStdout().Write(status.JSON)
		} else {
			err = printStatus(cmd.OutOrStdout(), status)
		}
		return cmp.Or(err, status.NotReady)
	}
	return cmd
}

// printStatus prints a status as two tables: the node's figures, and the members.
func printStatus(out io.Writer, s client.Status) error {
	leader := "none known"
	if s.Leader != nil {
		leader = fmt.Sprintf("%s (%s)", s.Leader.ID, s.Leader.HTTPAddr)
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, row := range [][2]string{
		{"node", s.ID},
		{"ready", yesNo(s.NotReady == nil)},
		{"cluster", s.ClusterID},
		{"role", s.Role},
		{"leader", leader},
		{"term", strconv.FormatUint(s.Term, 10)},
		{"commit index", strconv.FormatUint(s.CommitIndex, 10)},
		{"applied index", strconv.FormatUint(s.AppliedIndex, 10)},
		{"revision", strconv.FormatUint(s.Revision, 10)},
	} {
		fmt.Fprintf(w, "%s\t%s\n", row[0], row[1])
	}
	if s.Versions != nil {
		fmt.Fprintf(w, "commands\t%s\n", versionsText(s.Versions))
	}
	if text := diskText(s.Disk); text != "" {
		fmt.Fprintf(w, "disk\t%s\n", text)
	}
	if s.Settings != nil {
		if text := settingsText(s.Settings); text != "" {
			fmt.Fprintf(w, "settings\t%s\n", text)
		}
	}
	if err := w.Flush(); err != nil || len(s.Members) == 0 {
		return err
	}
	fmt.Fprintln(out)
	return printMembers(out, s.Members)
}

// versionsText describes the versions of commands that a node and its cluster understand.
func versionsText(v *kv.VersionStatus) string {
	text := fmt.Sprintf("understands version %d", v.Understands)
	if v.Announces != v.Understands {
		text += fmt.Sprintf(", announces %d", v.Announces)
	}
	if v.Writes != 0 {
		text += fmt.Sprintf(", writes %d", v.Writes)
	}
	if len(v.HeldBackBy) > 0 {
		text += ", held back by " + strings.Join(v.HeldBackBy, ", ")
	}
	return text
}

// diskText describes a node's room on its disk, "" if it is not known.
func diskText(d *kv.DiskStatus) string {
	if d == nil || d.TotalBytes == 0 {
		return ""
	}
	text := fmt.Sprintf("%d MiB free of %d, room for %d MiB of puts", d.FreeBytes>>20, d.TotalBytes>>20, d.RoomBytes>>21)
	if d.Low {
		text += "; nearly full: puts are refused (docs/disk.md)"
	}
	return text
}

// yesNo returns "yes" or "no".
func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
