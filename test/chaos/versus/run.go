package versus

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/kvorum/kvorum/test/chaos/lab"
)

const (
	// nodes is the number of nodes of each cluster.
	nodes = 3
	// labTimeout is the maximum wait for a Lab that another run on this machine has, from
	// the second turn on: each turn takes and returns the machine's claim. labPoll is the
	// time between two attempts.
	labTimeout, labPoll = 2 * time.Minute, time.Second
)

// Config configures a comparison.
type Config struct {
	Contenders [2]Contender // the first is compared with the second
	Dir        string       // an existing directory on the disk to measure; files that are made in it are removed
	Kind       string       // of the Lab, as in lab.Config
	Rounds     int
	Writers    int           // number that begins at each node
	Timeout    time.Duration // of a request
	Steady     time.Duration // before each fault
	During     time.Duration // duration of a fault
	Settle     time.Duration // after the first write that was acknowledged after a heal
	Faults     []string      // names; all if there is none
	// Say is called with the result of each trial, as text for people.
	Say func(format string, args ...any)
}

// Result has the results of the trials.
type Result struct {
	Kind string // of the Lab
	Took time.Duration
	cfg  Config
	rows []row
}

// row is one fault.
type row struct {
	fault  string
	trials [2][]trial // by contender, then by round
	// missing is the reason why the row is not shown, "" if it is shown.
	missing string
}

// Run runs the programs in turn. It returns an error if the comparison could not be
// completed. A fault that could not be made is not an error.
func Run(ctx context.Context, cfg Config) (*Result, error) {
	r := &Result{cfg: cfg}
	for _, f := range faults {
		if len(cfg.Faults) == 0 || slices.Contains(cfg.Faults, f.name) {
			r.rows = append(r.rows, row{fault: f.name})
		}
	}
	began := time.Now()
	for round := range cfg.Rounds {
		for i := range cfg.Contenders {
			if err := r.turn(ctx, round, i); err != nil {
				return nil, fmt.Errorf("round %d, %s: %w", round+1, cfg.Contenders[i].Name, err)
			}
		}
	}
	r.Took = time.Since(began)
	return r, nil
}

// turn runs one contender once through all faults, in a Lab of its own.
func (r *Result) turn(ctx context.Context, round, which int) (err error) {
	dir, err := os.MkdirTemp(r.cfg.Dir, "turn-")
	if err != nil {
		return fmt.Errorf("directory of the turn: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	c := r.cfg.Contenders[which]
	config := lab.Config{Kind: r.cfg.Kind, Program: c.Program, Initial: nodes, Dir: dir}
	l, err := openLab(ctx, config, round > 0 || which > 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	r.Kind = l.Kind()
	return r.perform(ctx, newStage(r.cfg, c, l, round), which)
}

// openLab opens a Lab. If patient is set, it waits for the Lab of another run to close.
func openLab(ctx context.Context, config lab.Config, patient bool) (lab.Lab, error) {
	for deadline := time.Now().Add(labTimeout); ; sleep(ctx, labPoll) {
		l, err := lab.Open(ctx, config)
		if !patient || !errors.Is(err, lab.ErrBusy) || time.Now().After(deadline) || ctx.Err() != nil {
			return l, err
		}
	}
}

func newStage(cfg Config, c Contender, l lab.Lab, round int) *stage {
	return &stage{cfg: cfg, contender: c, lab: l, hosts: l.Hosts(), client: newClient(1), round: round}
}

// perform starts the cluster and makes all faults, the first of which differs from round
// to round.
func (r *Result) perform(ctx context.Context, s *stage, which int) error {
	defer s.client.CloseIdleConnections()
	for _, h := range s.hosts {
		if err := h.Start(ctx); err != nil {
			return err
		}
	}
	for i := range r.rows {
		row := &r.rows[(i+s.round)%len(r.rows)]
		if row.missing != "" {
			continue
		}
		t, err := s.tryUntilMade(ctx, find(row.fault))
		if err := ended(s.lab.Exits()); err != nil {
			return fmt.Errorf("%s: %w", row.fault, err)
		}
		switch {
		case errors.Is(err, errNotMade) && ctx.Err() == nil:
			row.missing = fmt.Sprintf("%s, round %d: %v", s.contender.Name, s.round+1, err)
			s.cfg.Say("%s: %s", row.fault, row.missing)
		case err != nil:
			return fmt.Errorf("%s: %w", row.fault, err)
		default:
			row.trials[which] = append(row.trials[which], t)
			s.cfg.Say("%d %-6s %s", s.round+1, s.contender.Name, t.text(row.fault))
		}
	}
	return nil
}

// find returns the fault with a name, which must exist.
func find(name string) fault {
	return faults[slices.IndexFunc(faults, func(f fault) bool { return f.name == name })]
}

// ended returns an error if a process has ended by itself.
func ended(exits <-chan lab.Exit) error {
	for {
		select {
		case e := <-exits:
			if !e.Asked {
				return fmt.Errorf("%s ended by itself, with code %d %s: %s", e.Host.Name(), e.Code, e.Signal, e.Log)
			}
		default:
			return nil
		}
	}
}

// text describes a trial in one line.
func (t trial) text(fault string) string {
	line := fmt.Sprintf("%-28s %5.0f/s before, %5.0f/s during; %s without a write, %s before; %d requests failed; led by %s",
		fault, t.before, t.during, seconds(t.without), seconds(t.floor), t.failed, t.led)
	if t.leads != t.led {
		line += ", at the end by " + t.leads
	}
	if !t.served {
		line += "; NOT SERVED AGAIN"
	}
	return line
}
