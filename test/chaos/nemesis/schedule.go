package nemesis

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/kvorum/kvorum/test/chaos/lab"
	"github.com/kvorum/kvorum/test/chaos/record"
)

const (
	// settleTimeout is the maximum time after the heal until every node takes a write.
	settleTimeout = 60 * time.Second
	// maxTries is how often a fault that can't be made is tried.
	maxTries = 3
	// termsPerElection is how many terms one election may take: votes may be split.
	termsPerElection = 6
)

// Clients are those who use the cluster meanwhile.
type Clients interface {
	// Acknowledged returns when the first write was acknowledged after a moment.
	Acknowledged(after time.Time) (time.Time, bool)
	// LongestGap returns the longest time without an acknowledged write.
	LongestGap(from, to time.Time) time.Duration
}

// Config says what a Schedule does.
type Config struct {
	Lab     lab.Lab
	Watch   *Watch
	Clients Clients
	Began   time.Time // of the record; times are counted from it
	Seed    uint64
	Faults  []*Fault
	AtOnce  int           // how many faults at once, 1 to 3
	Every   time.Duration // a step begins at the earliest so long after the one before; 0 is at once
	// Say is told what happens, as text for people. It may be called concurrently.
	Say func(format string, args ...any)
}

// Schedule carries out a plan. Its methods belong to one goroutine.
type Schedule struct {
	cfg     Config
	cluster *Cluster
	plan    *plan

	tries map[*Fault]int
	done  map[*Fault]int
	lost  map[*Fault]record.Fault // the newest try of those that were never made

	faults     []record.Fault
	violations []record.Violation
	exits      *exits
}

// NewSchedule returns the Schedule of a Config. It takes the ends of the Lab's
// processes from now on, until Close.
func NewSchedule(cfg Config) *Schedule {
	c := NewCluster(cfg.Lab, cfg.Watch)
	return &Schedule{
		cfg: cfg, cluster: c, plan: newPlan(cfg.Seed, cfg.Faults, cfg.Lab.Initial(), cfg.AtOnce),
		tries: map[*Fault]int{}, done: map[*Fault]int{}, lost: map[*Fault]record.Fault{},
		exits: takeExits(cfg.Lab.Exits(), c, cfg.Began, cfg.Say),
	}
}

// Run makes faults until ctx ends or length has passed, whichever is first, and heals
// them all. It returns early, with an error, when a heal failed, or when the cluster
// did not take writes again: what follows would show nothing.
func (s *Schedule) Run(ctx context.Context, length time.Duration) error {
	end := time.Now().Add(length)
	for ctx.Err() == nil && time.Now().Before(end) {
		began := time.Now()
		if err := s.step(ctx, s.plan.next()); err != nil {
			return err
		}
		pause := min(time.Until(began.Add(s.cfg.Every)), time.Until(end))
		if s.cfg.Every > 0 && sleep(ctx, pause) != nil {
			break
		}
	}
	return nil
}

// Await waits until every member takes a write, and knows all others; at the beginning
// of a run, before there is any fault.
func (s *Schedule) Await(ctx context.Context, limit time.Duration) error {
	return poll(ctx, limit, s.cluster.whole)
}

// step makes the faults of one step at the same time, heals each after its time, and
// waits until all is well again.
func (s *Schedule) step(ctx context.Context, st step) error {
	defer s.cluster.releaseAll()
	s.cfg.Say("%s", st)
	term := s.cfg.Watch.Term()
	results := make([]result, len(st.faults))
	var all sync.WaitGroup
	for i, f := range st.faults {
		act := &Act{fault: f, c: s.cluster, rng: rand.New(rand.NewPCG(st.seed, uint64(i)))}
		all.Go(func() { results[i] = perform(ctx, act, st.lasts[i]) })
	}
	all.Wait()
	settled := s.settle(ctx)
	s.record(st, results, s.cfg.Watch.Term()-term)
	if ctx.Err() != nil {
		return nil
	}
	for _, r := range results {
		if r.unhealed != nil {
			return fmt.Errorf("heal of %q: %w", r.act.fault.Name, r.unhealed)
		}
	}
	return settled
}

// result is what became of one Act.
type result struct {
	act      *Act
	from, to time.Time
	err      error // why it was not made
	unhealed error // why it was not healed
}

// perform makes a fault, waits, and heals it, whatever happens meanwhile.
func perform(ctx context.Context, act *Act, lasts time.Duration) (r result) {
	r = result{act: act, from: time.Now()}
	defer func() {
		r.unhealed = act.heal(ctx)
		r.to = time.Now()
	}()
	if r.err = act.fault.start(ctx, act); r.err == nil {
		_ = sleep(ctx, lasts) // ended early, it was made all the same
	}
	return r
}

// settle starts what has ended by itself, and waits until every node takes a write. It
// counts as a violation where that takes too long.
func (s *Schedule) settle(ctx context.Context) error {
	err := poll(ctx, settleTimeout, func(ctx context.Context) error {
		err := each(s.cluster.Members(), func(h lab.Host) error { return h.Start(ctx) })
		return errors.Join(err, s.cluster.whole(ctx))
	})
	if err != nil && ctx.Err() == nil {
		s.violations = append(s.violations, record.Violation{
			At: s.at(time.Now()), Promise: fmt.Sprintf("every node takes writes within %v after a heal", settleTimeout), What: err.Error(),
		})
		return fmt.Errorf("not well %v after the heal: %w", settleTimeout, err)
	}
	return nil
}

// at returns a moment as a record has it.
func (s *Schedule) at(t time.Time) float64 {
	return t.Sub(s.cfg.Began).Round(time.Millisecond).Seconds()
}

// record notes what became of a step. Service counts from the last heal of the step.
func (s *Schedule) record(st step, results []result, terms uint64) {
	var last time.Time
	bound := 0
	for _, r := range results {
		bound += r.act.fault.terms
		if r.to.After(last) {
			last = r.to
		}
	}
	for _, r := range results {
		f := r.act.fault
		s.tries[f]++
		rec := s.describe(r, last)
		rec.Terms = terms
		if rec.Done {
			s.done[f]++
			s.faults = append(s.faults, rec)
			delete(s.lost, f)
			continue
		}
		s.cfg.Say("%s was not made: %s", rec.Name, rec.Reason)
		if s.done[f] == 0 {
			s.lost[f] = rec
		}
		if s.tries[f] < maxTries && !errors.Is(r.err, lab.ErrNotCovered) {
			s.plan.again = append(s.plan.again, f)
		}
	}
	if limit := uint64(1+bound) * termsPerElection; terms > limit {
		s.violations = append(s.violations, record.Violation{
			At: s.at(last), Promise: "the terms that a fault takes are bounded", What: fmt.Sprintf("%s took %d terms, more than %d", st, terms, limit),
		})
	}
}

// describe returns the record of one act of a step whose last heal was at a moment.
func (s *Schedule) describe(r result, healed time.Time) record.Fault {
	rec := record.Fault{
		Name: r.act.fault.Name, Detail: r.act.detail(), Hosts: r.act.names(), From: s.at(r.from), To: s.at(r.to),
		Served: -1, Done: r.err == nil,
	}
	if r.err != nil {
		rec.Reason = r.err.Error()
	}
	until := time.Now()
	if served, ok := s.cfg.Clients.Acknowledged(healed); ok {
		rec.Served = served.Sub(healed).Round(time.Millisecond).Seconds()
		until = served
	}
	rec.Without = s.cfg.Clients.LongestGap(r.from, until).Round(time.Millisecond).Seconds()
	return rec
}

// Fill adds what is known by now to the record of a run. Faults that were never made,
// of those that came up, are in it as not done.
func (s *Schedule) Fill(run *record.Run) {
	run.Faults = append(run.Faults, s.faults...)
	for _, f := range s.cfg.Faults {
		if rec, ok := s.lost[f]; ok {
			run.Faults = append(run.Faults, rec)
			run.Uncovered = append(run.Uncovered, record.Uncovered{What: f.Name, Reason: rec.Reason})
		}
	}
	slices.SortStableFunc(run.Faults, func(a, b record.Fault) int { return cmp.Compare(a.From, b.From) })
	run.Violations = append(run.Violations, s.violations...)
	s.exits.fill(run)
}

// Untried returns the faults that did not come up.
func (s *Schedule) Untried() (faults []*Fault) {
	for _, f := range s.cfg.Faults {
		if s.tries[f] == 0 {
			faults = append(faults, f)
		}
	}
	return faults
}

// Close ends what NewSchedule began, once all processes have ended.
func (s *Schedule) Close() { s.exits.close() }
