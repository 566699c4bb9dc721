package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/kvorum/kvorum/internal/api"
)

// ttlUsage is the help of the flag --ttl.
const ttlUsage = "time to live of the key, such as 30s, 1500ms or 1h30m"

// ttlFlag is the value of a flag --ttl; 0 means that it is not given.
type ttlFlag time.Duration

// Set implements pflag.Value.
func (f *ttlFlag) Set(text string) error {
	ttl, err := api.ParseTTL(text)
	*f = ttlFlag(ttl)
	return err
}

// String implements pflag.Value.
func (f *ttlFlag) String() string {
	if *f == 0 {
		return ""
	}
	return time.Duration(*f).String()
}

// Type implements pflag.Value.
func (f *ttlFlag) Type() string { return "duration" }

func newTouchCommand() *cobra.Command {
	var ttl time.Duration
	cmd := &cobra.Command{
		Use:   "touch KEY [flags]",
		Short: "Give a key a new time to live",
		Long: `Touch makes a key expire after --ttl, in place of the deadline that it has, if it has
one. The value remains. A key that does not exist is an error with exit code 1.

A write whose answer was lost is reported as "outcome unknown" and not sent
again: it happened once or not at all.`,
		Example: "  kvorum touch session/7 --ttl 30m",
		Args:    exactArgs(1),
	}
	cmd.Flags().Var((*ttlFlag)(&ttl), "ttl", ttlUsage)
	addIdempotencyFlag(cmd)
	flags := addClientFlags(cmd, defaultTimeout)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if ttl == 0 {
			return usagef("--ttl is required; use: %s", cmd.UseLine())
		}
		c, err := flags.open(cmd)
		if err != nil {
			return err
		}
		defer c.Close()
		written, err := c.Touch(cmd.Context(), args[0], ttl)
		if err != nil {
			return err
		}
		return printWritten(cmd.OutOrStdout(), "touched", written)
	}
	return cmd
}

func newPersistCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "persist KEY [flags]",
		Short: "Remove the deadline of a key",
		Long: `Persist makes a key one that does not expire. The value remains. A key without a
deadline is not changed; one that does not exist is an error with exit code 1.

A write whose answer was lost is reported as "outcome unknown" and not sent
again: it happened once or not at all.`,
		Example: "  kvorum persist session/7",
		Args:    exactArgs(1),
	}
	addIdempotencyFlag(cmd)
	flags := addClientFlags(cmd, defaultTimeout)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := flags.open(cmd)
		if err != nil {
			return err
		}
		defer c.Close()
		written, err := c.Persist(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		return printWritten(cmd.OutOrStdout(), "persisted", written)
	}
	return cmd
}

// expires returns the deadline of a key for a table: the time that is left if that is known,
// otherwise the time at which it expires, "-" for never.
func expires(deadline int64, left time.Duration) string {
	switch {
	case deadline == 0:
		return "-"
	case left > 0:
		return fmt.Sprintf("in %v", left)
	}
	return api.FormatDeadline(deadline)
}
