package main

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/kvorum/kvorum/client"
	"github.com/kvorum/kvorum/kv"
)

func newHistoryCommand() *cobra.Command {
	var limit int
	cmd := &cobra.Command{
		Use:   "history KEY [flags]",
		Short: "Print the versions of a key",
		Long: `History prints the versions of a key that are kept, from the newest back to the one
that made the key. With --revision it begins at that revision: so it also shows a
key that was deleted since.`,
		Example: `  kvorum history config/limits
  kvorum history config/limits --limit 3 -o json`,
		Args: exactArgs(1),
	}
	cmd.Flags().IntVar(&limit, "limit", 0, "maximum number of versions to print; 0 is all")
	output := addOutputFlag(cmd, outputTable)
	reads := addReadFlags(cmd)
	flags := addClientFlags(cmd, defaultTimeout)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		options, err := reads.options()
		if err != nil {
			return err
		}
		if limit < 0 {
			return usagef("--limit must not be negative")
		}
		out, err := output.open(cmd.OutOrStdout(), true)
		if err != nil {
			return err
		}
		c, err := flags.open(cmd)
		if err != nil {
			return err
		}
		defer c.Close()
		err = history(cmd.Context(), c, args[0], options, limit, out.item)
		return errors.Join(err, out.close())
	}
	return cmd
}

// codeCompacted is the code of an error for a revision that is no longer kept.
var codeCompacted = kv.ErrCompacted.Code

// history calls each for the versions of a key, the newest first, until the one that made
// the key or the oldest that is kept. The second argument is the time that is left of the newest
// version.
func history(ctx context.Context, c *client.Client, key string, options client.ReadOptions, limit int, each func(kv.Item, time.Duration) error) error {
	for n := 0; limit == 0 || n < limit; n++ {
		read, err := c.Get(ctx, key, options)
		failed := (*client.Error)(nil)
		if n > 0 && errors.As(err, &failed) && failed.Code == codeCompacted {
			return nil
		}
		if err != nil {
			return err
		}
		if err := each(itemOf(key, read), read.TTL); err != nil || read.Version <= 1 || read.ModRevision <= 1 {
			return err
		}
		options.Revision = read.ModRevision - 1
	}
	return nil
}

// itemOf returns the outcome of a read as an item. It has no content type if the answer has
// that of values without one.
func itemOf(key string, read client.ReadResult) kv.Item {
	if read.ContentType == "application/octet-stream" {
		read.ContentType = ""
	}
	return kv.Item{
		Key: key, Value: read.Value, CreateRevision: read.CreateRevision, ModRevision: read.ModRevision, Version: read.Version,
		Flags: read.Flags, ContentType: read.ContentType, Deadline: read.Deadline,
	}
}
