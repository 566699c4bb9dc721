package main

import (
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/kvorum/kvorum/client"
)

func newIncrCommand() *cobra.Command {
	var o client.AddOptions
	cmd := &cobra.Command{
		Use:   "incr KEY [DELTA] [flags]",
		Short: "Add to a counter",
		Long: `Incr adds DELTA, 1 if it is missing, to the value of a key, which is a decimal
number of 64 bits, and prints the sum. A key that does not exist counts as 0. With
--ttl a key that it makes expires after that time; one that exists keeps its
deadline, or has none.

A write whose answer was lost is reported as "outcome unknown" and not sent
again: it happened once or not at all.`,
		Example: `  kvorum incr hits
  kvorum incr requests/alice --ttl 1m
  kvorum incr -- stock -5`,
		Args: rangeArgs(1, 2),
	}
	cmd.Flags().Var((*ttlFlag)(&o.TTL), "ttl", "time to live of the key if it is made, such as 30s, 1500ms or 1h30m")
	addIdempotencyFlag(cmd)
	flags := addClientFlags(cmd, defaultTimeout)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		delta := int64(1)
		if len(args) == 2 {
			var err error
			if delta, err = strconv.ParseInt(args[1], 10, 64); err != nil {
				return usagef("DELTA %q is not an integer of 64 bits", args[1])
			}
		}
		c, err := flags.open(cmd)
		if err != nil {
			return err
		}
		defer c.Close()
		sum, err := c.AddWith(cmd.Context(), args[0], delta, o)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(cmd.OutOrStdout(), sum.Number)
		return err
	}
	return cmd
}
