package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/kvorum/kvorum/cluster/recovery"
	"github.com/kvorum/kvorum/wal"
)

func newRecoverCommand() *cobra.Command {
	var confirm bool
	cmd := &cobra.Command{
		Use:   "recover DIR... [flags]",
		Short: "Begin a new cluster from the rest of one that lost its majority for good",
		Long: `Recover reads the data directories that are left of a cluster whose majority is
lost for good. None of its nodes may be running, and none of the others may ever
start again on its old data. It prints the end of each directory's history, and
whether acknowledged writes may be missing in all of them.

With --confirm it makes the node with the most complete history the only member of
a new cluster, with its whole state. Entries that were in flight and never
acknowledged may become part of the state. Then start that node, empty the data
directories of the others, and start those with --join.`,
		Example: `  kvorum recover /mnt/n1 /mnt/n2
  kvorum recover /mnt/n1 /mnt/n2 --confirm`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usagef("name the data directories that are left")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return recoverCluster(cmd.OutOrStdout(), args, confirm)
		},
	}
	cmd.Flags().BoolVar(&confirm, "confirm", false, "make the new cluster; without it nothing is changed")
	return cmd
}

func recoverCluster(out io.Writer, dirs []string, confirm bool) error {
	var survivors []recovery.Survivor
	for _, dir := range dirs {
		s, err := recovery.Survey(wal.OS(), dir)
		if errors.Is(err, recovery.ErrNoNode) {
			return err // names dir
		}
		if err != nil {
			return fmt.Errorf("%s: %w", dir, err)
		}
		survivors = append(survivors, s)
		if !recovery.SameHistory(survivors) {
			return fmt.Errorf("%s is of cluster %s, %s of %s", dir, s.Cluster, survivors[0].Dir, survivors[0].Cluster)
		}
	}
	best := slices.MaxFunc(survivors, recovery.Survivor.Compare)
	if err := printSurvivors(out, survivors, best); err != nil {
		return err
	}
	if best.LastIndex == 0 {
		return errors.New("there is nothing to recover: no directory holds an entry")
	}
	if !confirm {
		_, err := fmt.Fprintf(out, "\nNothing was changed. With --confirm, %s becomes the only member of a new cluster.\n", best.Name)
		return err
	}
	id, err := recovery.Recover(wal.OS(), best.Dir)
	if err != nil {
		return fmt.Errorf("%s: %w", best.Dir, err)
	}
	_, err = fmt.Fprintf(out, "\n%s is the only member of the new cluster %s. Start it; empty the other directories before their nodes start.\n",
		best.Name, id)
	return err
}

func printSurvivors(out io.Writer, survivors []recovery.Survivor, best recovery.Survivor) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "DIRECTORY\tNODE\tLAST TERM\tLAST INDEX\tSNAPSHOT\tKNOWS MOST")
	for _, s := range survivors {
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\t%s\n", s.Dir, s.Name, s.LastTerm, s.LastIndex, s.SnapshotIndex, yesNo(s.Dir == best.Dir))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, "\n%s\n", verdict(survivors, best))
	return err
}

// verdict returns the text that tells whether acknowledged writes may be lost, and why.
func verdict(survivors []recovery.Survivor, best recovery.Survivor) string {
	if !recovery.MayLose(survivors) {
		return "Every acknowledged write is in one of these directories; the one that knows most has all of them."
	}
	var why string
	switch {
	case best.Interrupted:
		why = fmt.Sprintf("an earlier recovery of %s was interrupted. Its answer about lost writes still holds.", best.Name)
	case len(best.Voters) == 0:
		why = "no directory says which nodes are voters."
	case len(best.PreviousVoters) != 0:
		why = fmt.Sprintf("of %d voters, or of %d before the newest change, which may not be in force, too few are left to be sure to have all.",
			len(best.Voters), len(best.PreviousVoters))
	default:
		why = fmt.Sprintf("of %d voters too few are left to be sure to have all.", len(best.Voters))
	}
	for _, s := range survivors {
		switch {
		case s.LostTail:
			why += fmt.Sprintf("\nThe log of %s has lost its end, so that %[1]s counts as one that is lost.", s.Name)
		case s.Interrupted && s.Dir != best.Dir:
			why += fmt.Sprintf("\nA recovery of %s was interrupted, so that %[1]s counts as one that is lost.", s.Name)
		}
	}
	return "Acknowledged writes MAY BE LOST: " + why
}
