package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/kvorum/kvorum/client"
	"github.com/kvorum/kvorum/internal/api"
	"github.com/kvorum/kvorum/kv"
)

// watchFlags are the flags of watch.
type watchFlags struct {
	prefix, start, end string
	options            client.WatchOptions
	output             *outputFlag
}

func newWatchCommand() *cobra.Command {
	var f watchFlags
	cmd := &cobra.Command{
		Use:   "watch [KEY] [flags]",
		Short: "Print the changes of keys as they happen",
		Long: `Watch prints the changes of a key, of the keys that begin with --prefix, of a range
from --start to --end, or of all keys, until it is interrupted. Each change is
printed once, in the order of revisions. If a node stops or can't be reached, the
watch continues on the next of --endpoints after the last revision that was printed,
and says so on standard error.

The formats are: table, the revision, the operation, the key and the value in
columns; json, an object a line; raw, nothing but the new values. With --snapshot
the present state comes first, as "state", and then "synced". If the node stops
before "synced", the state begins again, so its lines may repeat.

A revision may have several changes. In JSON all of them but the last have
"partial":true. Only after a line without it is the revision whole, and can
--from-revision continue at the next one: after a partial line, name its own
revision, whose changes come again.

With --from-revision the watch begins with past changes. If they are no longer kept,
that is an error with the code "compacted" and exit code 1; it is the same if the
watch is overtaken by the compaction. Begin again with --snapshot then.`,
		Example: `  kvorum watch config/limits
  kvorum watch --prefix config/ --snapshot --prev -o json
  kvorum watch --from-revision 42 --endpoints 127.0.0.1:8001,127.0.0.1:8002`,
		Args: rangeArgs(0, 1),
	}
	cmd.Flags().StringVar(&f.prefix, "prefix", "", "watch the keys that begin with this")
	cmd.Flags().StringVar(&f.start, "start", "", "watch the keys from this one on")
	cmd.Flags().StringVar(&f.end, "end", "", "watch the keys before this one")
	cmd.Flags().Uint64Var(&f.options.From, "from-revision", 0, "begin with the changes of this revision; 0 is from now on")
	cmd.Flags().BoolVar(&f.options.Snapshot, "snapshot", false, "print the state first, and then every change after it")
	cmd.Flags().BoolVar(&f.options.PrevItems, "prev", false, "print the values before the changes too")
	f.output = addOutputFlag(cmd, outputTable)
	flags := addClientFlags(cmd, defaultTimeout)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := f.setSpan(cmd, args); err != nil {
			return err
		}
		c, err := flags.open(cmd)
		if err != nil {
			return err
		}
		defer c.Close()
		f.options.Interrupted = func(err error) {
			fmt.Fprintf(cmd.ErrOrStderr(), "kvorum: the watch continues at the next endpoint: %s\n", oneLine(err))
		}
		return watch(cmd.Context(), c, f, cmd.OutOrStdout())
	}
	return cmd
}

// setSpan sets the keys that the arguments and flags name.
func (f *watchFlags) setSpan(cmd *cobra.Command, args []string) error {
	ranged := cmd.Flags().Changed("start") || cmd.Flags().Changed("end")
	switch {
	case len(args) == 1 && (f.prefix != "" || ranged), f.prefix != "" && ranged:
		return usagef("name the keys in one way: KEY, --prefix, or --start and --end")
	case len(args) == 1 && args[0] == "":
		return usagef("KEY is empty; leave it out for all keys")
	case len(args) == 1:
		f.options.Span = kv.One(args[0])
	case ranged:
		f.options.Span = kv.Span{Start: f.start, End: f.end}
	default:
		f.options.Span = kv.Prefix(f.prefix)
	}
	return nil
}

// watch prints changes until ctx ends, which is no error.
func watch(ctx context.Context, c *client.Client, f watchFlags, out io.Writer) error {
	p := watchPrinter{format: f.output.format, out: bufio.NewWriter(out)}
	if err := p.begin(); err != nil {
		return err
	}
	w, err := c.Watch(ctx, f.options)
	if err != nil {
		return withoutEnd(ctx, err)
	}
	for b, err := range w.All() {
		if err != nil {
			return withoutEnd(ctx, err)
		}
		if err := p.batch(&b); err != nil {
			return err
		}
	}
	return nil
}

// withoutEnd returns err, or nil if it is the end of ctx.
func withoutEnd(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// watchPrinter prints the batches of a watch.
type watchPrinter struct {
	format string
	out    *bufio.Writer
}

// watchColumns is the format of a row of the table.
const watchColumns = "%-10v  %-6s  %s\t%s\n"

// begin checks the format, and prints the heading of a table at once.
func (p *watchPrinter) begin() error {
	switch p.format {
	case outputJSON, outputRaw:
		return nil
	case outputTable:
		fmt.Fprintf(p.out, watchColumns, "REVISION", "OP", "KEY", "VALUE")
		return p.out.Flush()
	}
	return usagef("--output %q is none of: table, json, raw", p.format)
}

// batch prints a batch at once.
func (p *watchPrinter) batch(b *kv.WatchBatch) error {
	var errs []error
	for _, it := range b.Items {
		errs = append(errs, p.state(b.Revision, it))
	}
	if b.Kind == kv.WatchSynced {
		errs = append(errs, p.synced(b.Revision))
	}
	for i, e := range b.Events {
		errs = append(errs, p.event(b.Revision, e, b.Partial || i < len(b.Events)-1))
	}
	return errors.Join(errors.Join(errs...), p.out.Flush())
}

func (p *watchPrinter) state(revision uint64, it kv.Item) error {
	switch p.format {
	case outputJSON:
		return api.WriteStateLine(p.out, revision, it)
	case outputTable:
		return p.row(it.ModRevision, api.LineState, it.Key, printable(string(it.Value)))
	}
	return p.value(it.Value)
}

func (p *watchPrinter) synced(revision uint64) error {
	switch p.format {
	case outputJSON:
		return api.WriteMarkLine(p.out, revision, api.LineSynced)
	case outputTable:
		return p.row(revision, api.LineSynced, "", "")
	}
	return nil
}

// event prints a change. It is partial if it is not the last one of its revision.
func (p *watchPrinter) event(revision uint64, e kv.Event, partial bool) error {
	switch p.format {
	case outputJSON:
		return api.WriteEventLine(p.out, revision, e, partial)
	case outputTable:
		text := printable(string(e.Item.Value))
		if e.Prev != nil {
			text += "\twas " + printable(string(e.Prev.Value))
		}
		return p.row(revision, e.Kind.String(), e.Item.Key, text)
	}
	if e.Kind == kv.EventPut {
		return p.value(e.Item.Value)
	}
	return nil
}

// row prints a row of the table.
func (p *watchPrinter) row(revision uint64, op, key, value string) error {
	_, err := fmt.Fprintf(p.out, watchColumns, revision, op, printable(key), value)
	return err
}

// value prints a value on a line of its own.
func (p *watchPrinter) value(value []byte) error {
	_, _ = p.out.Write(value) // the next write returns its error
	return p.out.WriteByte('\n')
}
