package main

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kvorum/kvorum/test/chaos/lab"
	"github.com/kvorum/kvorum/test/chaos/nemesis"
)

// options are the options of a run.
type options struct {
	command string // "run", "docker" or "soak"
	seconds int
	seed    uint64
	nodes   int
	kind    string
	binary  string
	out     string
	faults  []string
	atOnce  int
	clients int // on each node
	control string
	every   time.Duration // time between the beginnings of two steps of faults
	sparing bool          // only faults that processes survive
}

const (
	// spare is the number of hosts beside those that form the cluster.
	spare = 2
	// maxNodes is the maximum number of nodes that form a cluster.
	maxNodes = 9
)

// addFlags adds the flags that all runs have.
func (o *options) addFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.Uint64Var(&o.seed, "seed", 0, "seed of the faults and clients; 0 draws one")
	f.StringVar(&o.binary, "binary", "", "program to test; built from ./cmd/kvorum where none is given")
	f.StringVar(&o.out, "out", "", "directory for the page and its evidence (default bin/chaos-KIND-SEED)")
	f.StringSliceVar(&o.faults, "faults", nil, `names of faults, comma separated, as "chaos faults" lists them; all where none is given`)
	f.IntVar(&o.clients, "clients", 4, "clients on each node")
}

// check returns an error for bad options, and draws a seed if none is given.
func (o *options) check() error {
	switch {
	case o.seconds < 1:
		return usagef("--seconds %d is not 1 or more", o.seconds)
	case o.nodes < 3 || o.nodes > maxNodes:
		return usagef("--nodes %d is not 3 to %d", o.nodes, maxNodes)
	case o.clients < 1 || o.clients > 64:
		return usagef("--clients %d is not 1 to 64", o.clients)
	case o.atOnce < 1 || o.atOnce > 3:
		return usagef("--at-once %d is not 1 to 3", o.atOnce)
	case !slices.Contains([]string{"", lab.KindNamespaces, lab.KindProxy, kindDocker}, o.kind):
		return usagef("--kind %q is not %s or %s", o.kind, lab.KindNamespaces, lab.KindProxy)
	}
	for _, name := range o.faults {
		if nemesis.Find(name) == nil {
			return usagef(`no fault is called %q; "chaos faults" lists them`, name)
		}
	}
	if o.control != "" && findControl(o.control) == nil {
		return usagef("no control is called %q: %s", o.control, strings.Join(controlNames(), ", "))
	}
	for o.seed == 0 {
		var raw [8]byte
		_, _ = rand.Read(raw[:]) // never fails
		o.seed = binary.LittleEndian.Uint64(raw[:]) % 1_000_000_000
	}
	return nil
}

// place returns the directory for the page of a run in a kind of Lab.
func (o *options) place(kind string) string {
	if o.out != "" {
		return o.out
	}
	return filepath.Join("bin", fmt.Sprintf("chaos-%s-%d", kind, o.seed))
}

// again returns the command that makes the same run.
func (o *options) again(kind string) string {
	args := []string{"go run ./test/chaos", o.command, "--seed", fmt.Sprint(o.seed), "--clients", fmt.Sprint(o.clients)}
	if o.command == "soak" {
		args = append(args, "--hours", fmt.Sprintf("%.4g", time.Duration(o.seconds*int(time.Second)).Hours()))
	} else {
		args = append(args, "--seconds", fmt.Sprint(o.seconds))
	}
	if o.command == "run" {
		args = append(args, "--at-once", fmt.Sprint(o.atOnce))
	}
	if kind != kindDocker {
		args = append(args, "--nodes", fmt.Sprint(o.nodes), "--kind", kind)
	}
	for flag, value := range map[string]string{"--binary": o.binary, "--control": o.control} {
		if value != "" {
			args = append(args, flag, value)
		}
	}
	if len(o.faults) > 0 {
		args = append(args, "--faults", fmt.Sprintf("%q", strings.Join(o.faults, ",")))
	}
	return strings.Join(args, " ")
}

// chosen returns the faults that were asked for, in the order of the table.
func (o *options) chosen() (faults []*nemesis.Fault) {
	for _, f := range nemesis.All() {
		if len(o.faults) == 0 && (f.Spares() || !o.sparing) || slices.Contains(o.faults, f.Name) {
			faults = append(faults, f)
		}
	}
	if c := findControl(o.control); c != nil {
		return c.choose(faults)
	}
	return faults
}

func newRunCommand() *cobra.Command {
	o := options{command: "run"}
	cmd := &cobra.Command{
		Use:   "run [flags]",
		Short: "Break processes on this machine",
		Long: `Run starts a cluster of processes, each in a network namespace of its own where the
rights allow, else behind a proxy on loopback, and breaks it. At the end it prints what
was covered, a verdict, and the path of a page.`,
		Example: `  chaos run --seconds 120
  chaos run --seconds 60 --seed 7 --nodes 5 --faults "kill the leader,loss"`,
		Args: cobra.NoArgs,
	}
	o.addFlags(cmd)
	f := cmd.Flags()
	f.IntVar(&o.seconds, "seconds", 120, "how long faults are made")
	f.IntVar(&o.nodes, "nodes", 3, "nodes that form the cluster")
	f.IntVar(&o.atOnce, "at-once", 3, "how many faults are made at once at most, 1 to 3")
	f.StringVar(&o.kind, "kind", "", "namespaces or proxy; what the rights allow where it is not given")
	f.StringVar(&o.control, "control", "", "break the cluster or a client in a way that must be found: "+strings.Join(controlNames(), ", "))
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := o.check(); err != nil {
			return err
		}
		_, err := conclude(cmd.Context(), cmd.OutOrStdout(), o)
		return err
	}
	return cmd
}

func newDockerCommand() *cobra.Command {
	o := options{command: "docker", nodes: 3, atOnce: 2, kind: kindDocker}
	cmd := &cobra.Command{
		Use:   "docker [flags]",
		Short: "Break the containers of docker-compose.yml",
		Long: `Docker builds and starts the shipped cluster of containers, under names of its own,
and breaks it. It must be run at the root of the repository.`,
		Args: cobra.NoArgs,
	}
	o.addFlags(cmd)
	cmd.Flags().IntVar(&o.seconds, "seconds", 60, "how long faults are made")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := o.check(); err != nil {
			return err
		}
		_, err := conclude(cmd.Context(), cmd.OutOrStdout(), o)
		return err
	}
	return cmd
}

func newFaultsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "faults",
		Short: "List the faults, with their rows in the table of docs/reliability.md",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			for _, f := range nemesis.All() {
				if _, err := fmt.Fprintf(cmd.OutOrStdout(), "%-42s %v\n", f.Name, f.Rows); err != nil {
					return err
				}
			}
			return nil
		},
	}
}
