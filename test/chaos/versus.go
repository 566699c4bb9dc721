package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kvorum/kvorum/test/chaos/lab"
	"github.com/kvorum/kvorum/test/chaos/versus"
)

// versusOptions are the options of a comparison with etcd.
type versusOptions struct {
	binary, etcd string
	dir          string
	cfg          versus.Config
}

func newVersusCommand() *cobra.Command {
	var o versusOptions
	cmd := &cobra.Command{
		Use:   "versus [flags]",
		Short: "Break a Kvorum and an etcd cluster in the same way, and compare",
		Long: `Versus starts clusters of Kvorum and of etcd ` + versus.EtcdVersion + ` in turns, breaks them one fault at a time
while clients write, and prints what that did to the throughput, and for how long
nobody's write was acknowledged, as a Markdown table. It compares and asserts nothing.`,
		Example: `  chaos versus
  chaos versus --rounds 1 --etcd /usr/local/bin/etcd --faults "kill of the leader"`,
		Args: cobra.NoArgs,
	}
	f := cmd.Flags()
	f.StringVar(&o.binary, "binary", "", "Kvorum program; built from ./cmd/kvorum where none is given")
	f.StringVar(&o.etcd, "etcd", "", "etcd program; built from its module where none is given")
	f.StringVar(&o.dir, "dir", "", "directory on the disk to measure (default the one for temporary files)")
	f.StringVar(&o.cfg.Kind, "kind", "", "namespaces or proxy; what the rights allow where it is not given")
	f.IntVar(&o.cfg.Rounds, "rounds", 5, "turns of each program")
	f.IntVar(&o.cfg.Writers, "writers", 8, "writers at home on each node")
	f.DurationVar(&o.cfg.Timeout, "timeout", time.Second, "how long a request may take")
	f.DurationVar(&o.cfg.Steady, "steady", 2*time.Second, "how long each fault is preceded by none")
	f.DurationVar(&o.cfg.During, "during", 3500*time.Millisecond, "how long each fault lasts")
	f.DurationVar(&o.cfg.Settle, "settle", time.Second, "how long outages that a heal causes are looked for")
	f.StringSliceVar(&o.cfg.Faults, "faults", nil, "names of faults, comma separated; all where none is given: "+strings.Join(versus.Faults(), ", "))
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := o.check(); err != nil {
			return err
		}
		return o.run(cmd.Context(), cmd.OutOrStdout())
	}
	return cmd
}

// check returns an error for bad options.
func (o *versusOptions) check() error {
	c := o.cfg
	switch {
	case c.Rounds < 1:
		return usagef("--rounds %d is not 1 or more", c.Rounds)
	case c.Writers < 1 || c.Writers > 256:
		return usagef("--writers %d is not 1 to 256", c.Writers)
	case min(c.Timeout, c.Steady, c.During) <= 0 || c.Settle < 0:
		return usagef("--timeout, --steady and --during must be positive, and --settle not negative")
	case !slices.Contains([]string{"", lab.KindNamespaces, lab.KindProxy}, c.Kind):
		return usagef("--kind %q is not %s or %s", c.Kind, lab.KindNamespaces, lab.KindProxy)
	}
	for _, name := range c.Faults {
		if !slices.Contains(versus.Faults(), name) {
			return usagef("no fault is called %q: %s", name, strings.Join(versus.Faults(), ", "))
		}
	}
	return nil
}

// run builds the programs, compares them, and prints the table.
func (o *versusOptions) run(ctx context.Context, w io.Writer) (err error) {
	out := newPrinter(w)
	out.from(time.Now())
	o.cfg.Say = out.say
	if o.cfg.Dir, err = os.MkdirTemp(o.dir, "kvchaos-"); err != nil {
		return fmt.Errorf("directory of the run: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(o.cfg.Dir)) }()
	if o.cfg.Contenders, err = o.contenders(ctx, o.cfg.Dir); err != nil {
		return err
	}
	result, err := versus.Run(ctx, o.cfg)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(w, "\n%d CPUs, %s, %s/%s. ", runtime.GOMAXPROCS(0), runtime.Version(), runtime.GOOS, runtime.GOARCH); err != nil {
		return err
	}
	if err := result.Write(w); err != nil {
		return err
	}
	if !result.Complete() {
		return errUncovered
	}
	return nil
}

// contenders returns the two programs. It builds those that are not given below dir.
func (o *versusOptions) contenders(ctx context.Context, dir string) (both [2]versus.Contender, err error) {
	path, err := (&options{binary: o.binary}).program(ctx, dir)
	if err != nil {
		return both, err
	}
	both[0] = versus.Kvorum(path, versionOf(ctx, path))
	if path, err = o.etcdProgram(ctx, dir); err != nil {
		return both, err
	}
	both[1], err = versus.Etcd(ctx, path)
	return both, err
}

// etcdProgram returns the path of the etcd that was given, or of one that it builds
// below dir.
func (o *versusOptions) etcdProgram(ctx context.Context, dir string) (string, error) {
	if o.etcd != "" {
		path, err := filepath.Abs(o.etcd)
		if err != nil {
			return "", usagef("--etcd %s: %w", o.etcd, err)
		}
		return path, nil
	}
	place := filepath.Join(dir, "etcd")
	if err := os.Mkdir(place, 0o777); err != nil {
		return "", fmt.Errorf("directory for etcd: %w", err)
	}
	return versus.BuildEtcd(ctx, place)
}
