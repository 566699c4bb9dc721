package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/kvorum/kvorum/client"
)

func newListCommand() *cobra.Command {
	var limit int
	var values bool
	cmd := &cobra.Command{
		Use:   "ls [PREFIX] [flags]",
		Short: "List keys in byte order",
		Long: `Ls prints the keys that begin with PREFIX, one per line in byte order. With
--values each is followed by a tab and its value. A key or value with characters
that are not printable, or with a double quote at its beginning, is printed as a
Go string literal ("a\x00b"), so that one line is always one key. -o asks for the
versions of the keys, and for their deadlines and the time that is left, too.`,
		Example: `  kvorum ls
  kvorum ls config/ --values --limit 20
  kvorum ls config/ -o table --revision 42`,
		Args: rangeArgs(0, 1),
	}
	cmd.Flags().IntVar(&limit, "limit", 0, "maximum number of keys to print; 0 is all")
	cmd.Flags().BoolVar(&values, "values", false, "print values too")
	output := addOutputFlag(cmd, outputRaw)
	reads := addReadFlags(cmd)
	flags := addClientFlags(cmd, defaultTimeout)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		options, err := reads.options()
		if err != nil {
			return err
		}
		table, err := output.open(cmd.OutOrStdout(), values)
		if err != nil {
			return err
		}
		c, err := flags.open(cmd)
		if err != nil {
			return err
		}
		defer c.Close()
		list, err := c.List(cmd.Context(), client.ListOptions{
			Prefix: strings.Join(args, ""), Limit: limit, KeysOnly: !values, ReadOptions: options,
		})
		if err != nil {
			return err
		}
		if output.format != outputRaw {
			return errors.Join(printTable(table, list), table.close())
		}
		out := bufio.NewWriter(cmd.OutOrStdout())
		return errors.Join(printItems(out, list, values), out.Flush())
	}
	return cmd
}

// printTable prints a listing in the format of a table or of JSON lines.
func printTable(out *itemPrinter, list *client.Listing) error {
	for item, err := range list.All() {
		if err != nil {
			return err
		}
		if err := out.item(item, list.TTL(item)); err != nil {
			return err
		}
	}
	return nil
}

// printItems prints a listing, one item a line.
func printItems(out io.Writer, list *client.Listing, values bool) error {
	for item, err := range list.All() {
		if err != nil {
			return err
		}
		line := printable(item.Key)
		if values {
			line += "\t" + printable(string(item.Value))
		}
		if _, err := fmt.Fprintln(out, line); err != nil {
			return err
		}
	}
	return nil
}

// printable returns s unchanged if it is readable on one line, otherwise quoted.
func printable(s string) string {
	odd := func(r rune) bool { return r == utf8.RuneError || !unicode.IsPrint(r) }
	if strings.HasPrefix(s, `"`) || strings.ContainsFunc(s, odd) {
		return strconv.Quote(s)
	}
	return s
}
