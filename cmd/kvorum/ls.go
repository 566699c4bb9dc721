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
)

func newListCommand() *cobra.Command {
	var limit int
	var values bool
	cmd := &cobra.Command{
		Use:   "ls [PREFIX] [flags]",
		Short: "List keys in byte order",
		Long: `Ls prints the keys that begin with PREFIX, one per line in byte order; with
--values each is followed by a tab and its value. A key or value that holds
anything but printable characters, or begins with a double quote, is printed as
a Go string literal ("a\x00b"), so that one line is always one key.`,
		Example: `  kvorum ls
  kvorum ls config/ --values --limit 20`,
		Args: rangeArgs(0, 1),
	}
	cmd.Flags().IntVar(&limit, "limit", 0, "most keys to print; 0 is all")
	cmd.Flags().BoolVar(&values, "values", false, "print values too")
	reads := addReadFlags(cmd)
	flags := addClientFlags(cmd, defaultTimeout)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if limit < 0 {
			return usagef("--limit must not be negative")
		}
		query, err := reads.query()
		if err != nil {
			return err
		}
		c, err := flags.open(cmd, 1)
		if err != nil {
			return err
		}
		defer c.close()
		list, err := c.list(cmd.Context(), listQuery{
			prefix: strings.Join(args, ""), limit: limit, keysOnly: !values, reads: query,
		})
		if err != nil {
			return err
		}
		defer list.close()
		out := bufio.NewWriter(cmd.OutOrStdout())
		return errors.Join(printRecords(out, list, values), out.Flush())
	}
	return cmd
}

// printRecords prints a listing, one record a line.
func printRecords(out io.Writer, list *listing, values bool) error {
	for {
		r, err := list.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		line := printable(r.key)
		if values {
			line += "\t" + printable(string(r.value))
		}
		if _, err := fmt.Fprintln(out, line); err != nil {
			return err
		}
	}
}

// printable returns s as it is if it reads as what it is on one line, otherwise quoted.
func printable(s string) string {
	odd := func(r rune) bool { return r == utf8.RuneError || !unicode.IsPrint(r) }
	if strings.HasPrefix(s, `"`) || strings.ContainsFunc(s, odd) {
		return strconv.Quote(s)
	}
	return s
}
