package main

import (
	"fmt"
	"strconv"

	"github.com/spf13/cobra"
)

func newCompactCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "compact REVISION [flags]",
		Short: "Give up the history before a revision",
		Long: `Compact makes REVISION the oldest one that can be read: versions of keys that were
replaced or deleted before it are discarded.`,
		Example: "  kvorum compact 4200",
		Args:    exactArgs(1),
	}
	flags := addClientFlags(cmd, adminTimeout)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		revision, err := strconv.ParseUint(args[0], 10, 63)
		if err != nil || revision == 0 {
			return usagef("REVISION %q is not a revision", args[0])
		}
		c, err := flags.open(cmd)
		if err != nil {
			return err
		}
		defer c.Close()
		done, err := c.Compact(cmd.Context(), revision)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "compacted, the oldest revision is %d of %d\n", done.CompactRevision, done.Revision)
		return err
	}
	return cmd
}
