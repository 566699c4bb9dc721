package main

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// consistencies are the read levels, the default first.
var consistencies = []string{"linearizable", "stale"}

func newGetCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "get KEY [flags]",
		Short: "Print the value of a key",
		Long: `Get writes the value's bytes to standard output, and nothing else. A key that
does not exist is an error with exit code 1.`,
		Example: `  kvorum get greeting
  kvorum get logo > logo.png
  kvorum get greeting --consistency stale --endpoints 127.0.0.1:8002`,
		Args: exactArgs(1),
	}
	consistency := addConsistencyFlag(cmd)
	flags := addClientFlags(cmd, defaultTimeout)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := checkKey(args[0]); err != nil {
			return err
		}
		if err := checkConsistency(*consistency); err != nil {
			return err
		}
		c, err := flags.open(cmd, 1)
		if err != nil {
			return err
		}
		defer c.close()
		value, err := c.get(cmd.Context(), args[0], *consistency)
		if err != nil {
			return err
		}
		_, err = cmd.OutOrStdout().Write(value)
		return err
	}
	return cmd
}

// addConsistencyFlag gives cmd a read level.
func addConsistencyFlag(cmd *cobra.Command) *string {
	return cmd.Flags().String("consistency", consistencies[0],
		"linearizable: sees every acknowledged write; stale: what the node has, at once")
}

// checkConsistency says whether level is a read level.
func checkConsistency(level string) error {
	if !slices.Contains(consistencies, level) {
		return usagef("--consistency %q is none of: %s", level, strings.Join(consistencies, ", "))
	}
	return nil
}
