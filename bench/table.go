package main

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// table is a Markdown table.
type table struct {
	head []string
	rows [][]string
}

// add appends a row.
func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

// write prints the table between empty lines.
func (t *table) write(w io.Writer) {
	line := func(cells []string) { fmt.Fprintf(w, "| %s |\n", strings.Join(cells, " | ")) }
	fmt.Fprintln(w)
	line(t.head)
	fmt.Fprintln(w, strings.Repeat("|---", len(t.head))+"|")
	for _, row := range t.rows {
		line(row)
	}
	fmt.Fprintln(w)
}

// compare returns a table of rates: a row for each contender, a column for each title. Each
// rate is followed by the ratio of the first contender's rate to it.
func compare(corner string, titles []string, columns [][]figures) table {
	t := table{head: append([]string{corner}, titles...)}
	for row := range columns[0] {
		cells := []string{columns[0][row].name}
		for _, column := range columns {
			f := column[row]
			cell := rate(median(f.values))
			if row > 0 {
				cell += fmt.Sprintf(" (%.2f×)", ratio(column[0].values, f.values))
			}
			cells = append(cells, cell)
		}
		t.add(cells...)
	}
	return t
}

// rate writes operations per second with three digits.
func rate(v float64) string {
	switch {
	case v >= 1e6:
		return fmt.Sprintf("%.3g M/s", v/1e6)
	case v >= 1e3:
		return fmt.Sprintf("%.3g k/s", v/1e3)
	default:
		return fmt.Sprintf("%.3g/s", v)
	}
}

// took writes a duration in milliseconds with three digits.
func took(d time.Duration) string {
	return fmt.Sprintf("%.3g ms", float64(d)/float64(time.Millisecond))
}
