package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/kvorum/kvorum/cluster/recovery"
	"github.com/kvorum/kvorum/internal/nodeid"
	"github.com/kvorum/kvorum/store"
	"github.com/kvorum/kvorum/wal"
)

func newCheckCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "check DIR",
		Short: "Verify the data directory of a node, or of an embedded store, that is not running",
		Long: `Check reads every snapshot and every record of the log in DIR, verifies their
checksums, and prints a report. It changes nothing. At the first damage it exits
with code 1, and names the file and the offset.`,
		Example: `  kvorum check /var/lib/kvorum`,
		Args:    rangeArgs(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return checkDir(cmd.OutOrStdout(), args[0])
		},
	}
}

// checkDir checks a node's or an embedded store's directory. It distinguishes them by their
// files.
func checkDir(out io.Writer, dir string) error {
	switch _, err := os.Stat(filepath.Join(dir, nodeid.File)); {
	case err == nil:
		return checkNode(out, dir)
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	for _, part := range []string{"wal/MANIFEST", "wal/wal-*.log", "snapshots/snapshot-*.snap", "FLOOR"} {
		if found, err := fs.Glob(os.DirFS(dir), part); err == nil && len(found) > 0 {
			return checkStore(out, dir)
		}
	}
	return fmt.Errorf("%s holds neither a node nor an embedded store", dir)
}

func checkNode(out io.Writer, dir string) error {
	report, err := recovery.Check(wal.OS(), dir)
	if report.Name != "" {
		fmt.Fprintf(out, "node %s, incarnation %s, cluster %s\n", report.Name, report.Incarnation, report.Cluster)
	}
	for _, s := range report.Snapshots {
		fmt.Fprintf(out, "%s: index %d, term %d, %d bytes\n", s.File, s.Index, s.Term, s.Bytes)
	}
	printLog(out, report.Log)
	switch {
	case report.Stable:
		fmt.Fprintln(out, "term and vote: whole")
	case err == nil:
		fmt.Fprintln(out, "term and vote: the node has not made them yet")
	}
	return checked(out, err)
}

func checkStore(out io.Writer, dir string) error {
	report, err := store.Check(dir)
	fmt.Fprintln(out, "embedded store")
	for _, s := range report.Snapshots {
		fmt.Fprintf(out, "%s: sequence %d, %d keys, %d bytes\n", s.File, s.Sequence, s.Keys, s.Bytes)
	}
	if report.Log != nil {
		printLog(out, *report.Log)
	}
	return checked(out, err)
}

func printLog(out io.Writer, log wal.Report) {
	for _, s := range log.Segments {
		fmt.Fprintf(out, "%s: %d records from %d, %d bytes\n", s.File, s.Records, s.First, s.Bytes)
	}
	if log.Last > 0 {
		fmt.Fprintf(out, "log: records %d to %d\n", log.First, log.Last)
	}
	if log.TornBytes > 0 {
		fmt.Fprintf(out, "log: %d bytes of an unfinished write at the end, which the next start removes\n", log.TornBytes)
	}
}

func checked(out io.Writer, err error) error {
	if err == nil {
		fmt.Fprintln(out, "ok")
	}
	return err
}
