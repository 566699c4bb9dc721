package main

import (
	"bufio"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/kvorum/kvorum/internal/api"
	"github.com/kvorum/kvorum/kv"
)

// Formats of items.
const (
	outputTable = "table" // columns with a heading
	outputJSON  = "json"  // JSON lines
	outputRaw   = "raw"   // values as they are, or keys
)

// outputFlag is the flag -o of commands that print items.
type outputFlag struct{ format string }

// addOutputFlag adds the flag -o to cmd.
func addOutputFlag(cmd *cobra.Command, format string) *outputFlag {
	f := new(outputFlag)
	cmd.Flags().StringVarP(&f.format, "output", "o", format, "table: columns; json: a JSON object a line; raw: nothing but the contents")
	return f
}

// itemPrinter prints items.
type itemPrinter struct {
	format string
	values bool
	out    *bufio.Writer
	table  *tabwriter.Writer
}

// open returns a printer of items, with or without their values.
func (f *outputFlag) open(w io.Writer, values bool) (*itemPrinter, error) {
	p := &itemPrinter{format: f.format, values: values, out: bufio.NewWriter(w)}
	switch f.format {
	case outputJSON, outputRaw:
	case outputTable:
		p.table = tabwriter.NewWriter(p.out, 0, 0, 2, ' ', 0)
		heading := "KEY\tVERSION\tCREATED\tMODIFIED\tEXPIRES"
		if values {
			heading += "\tVALUE"
		}
		fmt.Fprintln(p.table, heading)
	default:
		return nil, usagef("--output %q is none of: table, json, raw", f.format)
	}
	return p, nil
}

// item prints an item. left is what is left of its time to live, 0 if that is not known.
func (p *itemPrinter) item(it kv.Item, left time.Duration) error {
	var err error
	switch p.format {
	case outputJSON:
		err = api.WriteListLine(p.out, it, left, !p.values)
	case outputTable:
		fmt.Fprintf(p.table, "%s\t%d\t%d\t%d\t%s",
			printable(it.Key), it.Version, it.CreateRevision, it.ModRevision, expires(it.Deadline, left))
		if p.values {
			fmt.Fprintf(p.table, "\t%s", printable(string(it.Value)))
		}
		_, err = fmt.Fprintln(p.table)
	default:
		if p.values {
			_, _ = p.out.Write(it.Value) // the next write returns its error
			err = p.out.WriteByte('\n')
		} else {
			_, err = fmt.Fprintln(p.out, printable(it.Key))
		}
	}
	return err
}

// close writes what is left.
func (p *itemPrinter) close() error {
	if p.table != nil {
		if err := p.table.Flush(); err != nil {
			return err
		}
	}
	return p.out.Flush()
}
