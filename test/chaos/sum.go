package main

import (
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/kvorum/kvorum/test/chaos/record"
	"github.com/kvorum/kvorum/test/chaos/report"
)

func newSumCommand() *cobra.Command {
	var out string
	cmd := &cobra.Command{
		Use:   "sum DIR...",
		Short: "Add up the runs whose pages are in some directories",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, dirs []string) error {
			var runs []*record.Run
			for _, dir := range dirs {
				run, err := record.Read(filepath.Join(dir, "run.json"))
				if err != nil {
					return usagef("%w", err)
				}
				runs = append(runs, run)
			}
			page, err := report.WriteSummary(out, runs)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "page: %s, and the tables of it as Markdown beside it\n", page)
			return err
		},
	}
	cmd.Flags().StringVar(&out, "out", filepath.Join("bin", "chaos-sum"), "directory for the page")
	return cmd
}
