package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kvorum/kvorum/client"
	"github.com/kvorum/kvorum/kv"
)

func newExportCommand() *cobra.Command {
	var prefix string
	var force bool
	cmd := &cobra.Command{
		Use:   "export FILE|DIR/|- [flags]",
		Short: "Write keys and values to a file or a directory",
		Long: `Export writes all keys, or those that begin with --prefix, in the state of one
revision. It writes JSON lines to FILE or standard output ("-"), with content types,
flags and deadlines, or the value of each key, without these, to a file of its own
below a directory. The argument is a directory if it ends in a slash or exists as one.

FILE is complete or absent: it is written under another name, synced, and renamed.
Only its owner may read it. In a directory some keys can't be written. Such a key is
not a relative path ("../x", "/x", "a//b"), or its file can't exist beside another
one ("a" and "a/b"; names that differ only in case, on some file systems). The first
ten such keys are listed, and the exit code is 1.

Without --force no existing file is replaced.`,
		Example: `  kvorum export backup.jsonl
  kvorum export ./out/ --prefix config/     # to out/config/...
  kvorum export - | gzip > backup.jsonl.gz`,
		Args: exactArgs(1),
	}
	cmd.Flags().StringVar(&prefix, "prefix", "", "export only keys that begin with this; files keep it in their names")
	cmd.Flags().BoolVar(&force, "force", false, "replace files that exist")
	reads := addReadFlags(cmd)
	flags := addClientFlags(cmd, defaultTimeout)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		options, err := reads.options()
		if err != nil {
			return err
		}
		c, err := flags.open(cmd)
		if err != nil {
			return err
		}
		defer c.Close()
		t := newTally("exported")
		err = export(cmd.Context(), c, client.ListOptions{Prefix: prefix, ReadOptions: options}, func() (sink, error) {
			return openSink(args[0], cmd.OutOrStdout(), force, t)
		})
		if err != nil {
			return fmt.Errorf("export to %s: %w", args[0], err)
		}
		counts := cmd.OutOrStdout()
		if args[0] == "-" {
			counts = cmd.ErrOrStderr() // standard output has the data
		}
		return t.report(counts, cmd.ErrOrStderr())
	}
	return cmd
}

// sink is the destination of an export's items.
type sink interface {
	// put writes one item. It counts an item that can't be written as failed. It returns
	// an error if no other item can be written either.
	put(item kv.Item) error
	// commit completes the export.
	commit() error
	// abort ends an incomplete export. It does nothing after commit.
	abort()
}

var (
	_ sink = (*streamSink)(nil)
	_ sink = (*fileSink)(nil)
	_ sink = (*dirSink)(nil)
)

// openSink opens the destination that an export's argument names.
func openSink(name string, stdout io.Writer, force bool, t *tally) (sink, error) {
	if name == "-" {
		return newStreamSink(stdout, t), nil
	}
	info, err := os.Stat(name)
	switch {
	case strings.HasSuffix(name, "/"), os.IsPathSeparator(name[max(0, len(name)-1)]), err == nil && info.IsDir():
		return newDirSink(name, force, t)
	case err == nil && !info.Mode().IsRegular():
		return nil, errors.New("is neither a directory nor a regular file")
	case err == nil && !force:
		return nil, errors.New("exists already; --force replaces it")
	}
	return newFileSink(name, t)
}

// export writes the items that o selects to a sink. The sink is opened only when the listing
// has begun.
func export(ctx context.Context, c *client.Client, o client.ListOptions, open func() (sink, error)) error {
	list, err := c.List(ctx, o)
	if err != nil {
		return err
	}
	defer list.Close()
	out, err := open()
	if err != nil {
		return err
	}
	defer out.abort()
	for item, err := range list.All() {
		if err != nil {
			return err
		}
		if err := out.put(item); err != nil {
			return err
		}
	}
	return out.commit()
}
