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
		Long: `Export writes all keys, or those that begin with --prefix, as they were at one
revision: as JSON lines to FILE or standard output ("-"), or each to a file of
its own below a directory. An argument that ends in a slash, or that is a
directory, is a directory.

FILE is complete or absent: it is written beside its name, synced, and renamed,
and is readable by its owner alone. In a directory, a key that is no relative
path ("../x", "/x", "a//b"), or whose file can't be made beside another's ("a"
and "a/b"; names that differ in case alone, where the file system does not tell
them apart), is listed, the first ten, and makes the exit code 1.

Nothing that exists is replaced without --force.`,
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
			counts = cmd.ErrOrStderr() // the other holds the data
		}
		return t.report(counts, cmd.ErrOrStderr())
	}
	return cmd
}

// sink is where an export's items go.
type sink interface {
	// put takes one item. It counts an item that it can't take; its error is
	// one after which no other can be taken either.
	put(item kv.Item) error
	// commit makes the export complete.
	commit() error
	// abort ends an export that is not complete. It does nothing after commit.
	abort()
}

var (
	_ sink = (*streamSink)(nil)
	_ sink = (*fileSink)(nil)
	_ sink = (*dirSink)(nil)
)

// openSink opens what an export's argument names.
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

// export writes what o lists to a sink. Nothing is opened until the listing has begun.
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
