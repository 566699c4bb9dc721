package nemesis

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/kvorum/kvorum/test/chaos/lab"
	"github.com/kvorum/kvorum/test/chaos/record"
)

const (
	// settleTimeout is the maximum time after the heal until every node accepts a write.
	settleTimeout = 60 * time.Second
	// servedLimit is the maximum time after the last heal of a step until a write is
	// acknowledged.
	servedLimit = 5 * time.Second
	// restartEvery is the time between two starts of a process that ends again and again.
	restartEvery = 3 * time.Second
	// maxTries is the maximum number of attempts to make a fault.
	maxTries = 3
	// termsPerElection is the maximum number of terms of one election: votes may be split.
	termsPerElection = 6
)

// Clients are the users of the cluster during a Schedule.
type Clients interface {
	// Acknowledged returns the time of the first acknowledged write after a time.
	Acknowledged(after time.Time) (time.Time, bool)
	// LongestGap returns the longest time without an acknowledged write.
	LongestGap(from, to time.Time) time.Duration
}

// Config configures a Schedule.
type Config struct {
	Cluster *Cluster
	Clients Clients
	Seed    uint64
	Faults  []*Fault
	AtOnce  int           // maximum number of faults at the same time, 1 to 3
	Every   time.Duration // minimum time between the beginnings of two steps; 0 means none
}

// Schedule carries out a plan. Its methods belong to one goroutine.
type Schedule struct {
	cfg     Config
	cluster *Cluster
	plan    *plan

	tries map[*Fault]int
	done  map[*Fault]int
	lost  map[*Fault]record.Fault // the newest attempt of faults that were never made

	faults     []record.Fault
	violations []record.Violation
}

// NewSchedule returns the Schedule of a Config.
func NewSchedule(cfg Config) *Schedule {
	return &Schedule{
		cfg: cfg, cluster: cfg.Cluster, plan: newPlan(cfg.Seed, cfg.Faults, cfg.Cluster.lab.Initial(), cfg.AtOnce),
		tries: map[*Fault]int{}, done: map[*Fault]int{}, lost: map[*Fault]record.Fault{},
	}
}

// Run makes faults until ctx ends or length has passed, whichever is first, and heals them
// all. It returns early, with an error, when a heal failed, or when the cluster did not
// accept writes again: later faults would show nothing.
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

// step makes the faults of one step at the same time, heals each after its time, and waits
// until every node accepts a write again.
func (s *Schedule) step(ctx context.Context, st step) error {
	defer s.cluster.releaseAll()
	s.cluster.say("%s", st)
	term := s.cluster.watch.Term()
	results := make([]result, len(st.faults))
	var all sync.WaitGroup
	for i, f := range st.faults {
		act := &Act{fault: f, c: s.cluster, rng: rand.New(rand.NewPCG(st.seed, uint64(i)))}
		all.Go(func() { results[i] = perform(ctx, act, st.lasts[i]) })
	}
	all.Wait()
	settled := s.settle(ctx)
	s.awaitClients(ctx, results)
	s.record(st, results, s.cluster.watch.Term()-term, ctx.Err() != nil)
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

// result is the result of one Act.
type result struct {
	act      *Act
	from, to time.Time
	err      error // why it was not made
	unhealed error // why it was not healed
}

// perform makes a fault, waits, and heals it in any case.
func perform(ctx context.Context, act *Act, lasts time.Duration) (r result) {
	r = result{act: act, from: time.Now()}
	defer func() {
		r.unhealed = act.heal(ctx)
		if errors.Is(r.err, lab.ErrNotCovered) && errors.Is(r.unhealed, lab.ErrNotCovered) {
			r.unhealed = nil // a fault that the Lab does not have has changed nothing
		}
		r.to = time.Now()
	}()
	if r.err = act.fault.start(ctx, act); r.err == nil {
		_ = sleep(ctx, lasts) // a fault that ended early was made all the same
	}
	return r
}

// settle starts processes that have ended by themselves, and waits until every node accepts
// a write. If that takes too long, it is a violation.
func (s *Schedule) settle(ctx context.Context) error {
	var started time.Time
	err := poll(ctx, settleTimeout, func(ctx context.Context) error {
		if time.Since(started) > restartEvery {
			started = time.Now()
			if err := each(s.cluster.Members(), func(h lab.Host) error { return h.Start(ctx) }); err != nil {
				return err
			}
		}
		return s.cluster.whole(ctx)
	})
	if err != nil && ctx.Err() == nil {
		s.violate(time.Now(), fmt.Sprintf("every node takes writes within %v after a heal", settleTimeout), err.Error())
		return fmt.Errorf("not well %v after the heal: %w", settleTimeout, err)
	}
	return nil
}

// awaitClients waits until a client's write is acknowledged after all heals, for a little
// longer than the limit. The writes of settle are not those of clients.
func (s *Schedule) awaitClients(ctx context.Context, results []result) {
	healed := lastHeal(results)
	_ = poll(ctx, servedLimit+time.Second, func(context.Context) error {
		if _, ok := s.cfg.Clients.Acknowledged(healed); !ok {
			return errNobody
		}
		return nil
	}) // a missing write is recorded
}

// lastHeal returns when the last of the faults of a step was healed.
func lastHeal(results []result) (last time.Time) {
	for _, r := range results {
		if r.to.After(last) {
			last = r.to
		}
	}
	return last
}

// record records the results of a step, which may have been interrupted. The time without
// service counts from the last heal of the step.
func (s *Schedule) record(st step, results []result, terms uint64, interrupted bool) {
	last, bound := lastHeal(results), 0
	for _, r := range results {
		bound += r.act.fault.terms
	}
	for _, r := range results {
		f := r.act.fault
		s.tries[f]++
		rec := s.describe(r, last)
		rec.Terms = terms
		if rec.Done {
			s.cluster.say("  %s: %s", rec.Name, spoken(rec))
			s.done[f]++
			s.faults = append(s.faults, rec)
			delete(s.lost, f)
			continue
		}
		s.cluster.say("%s was not made: %s", rec.Name, rec.Reason)
		if s.done[f] == 0 {
			s.lost[f] = rec
		}
		if s.tries[f] < maxTries && !errors.Is(r.err, lab.ErrNotCovered) {
			s.plan.again = append(s.plan.again, f)
		}
	}
	if !interrupted {
		s.checkServed(st, last)
	}
	if limit := uint64(1+bound) * termsPerElection; terms > limit {
		s.violate(last, "the terms that a fault takes are bounded", fmt.Sprintf("%s took %d terms, more than %d", st, terms, limit))
	}
}

// checkServed checks that a write was acknowledged soon after the last heal of a step.
func (s *Schedule) checkServed(st step, healed time.Time) {
	promise := fmt.Sprintf("a write is acknowledged within %v after a heal that leaves a majority", servedLimit)
	served, ok := s.cfg.Clients.Acknowledged(healed)
	if after := served.Sub(healed); ok && after > servedLimit {
		s.violate(healed, promise, fmt.Sprintf("%s: the next one came after %v", st, after.Round(time.Millisecond)))
	} else if !ok {
		s.violate(healed, promise, fmt.Sprintf("%s: none came since", st))
	}
}

func (s *Schedule) violate(at time.Time, promise, what string) {
	s.violations = append(s.violations, record.Violation{At: s.cluster.at(at), Promise: promise, What: what})
}

// spoken describes the result of a fault in one line.
func spoken(f record.Fault) string {
	served := "no write was acknowledged after it"
	if f.Served >= 0 {
		served = fmt.Sprintf("a write %.1f s after it", f.Served)
	}
	return fmt.Sprintf("%s on %s; %s, at most %.1f s without, %d terms", f.Detail, strings.Join(f.Hosts, " "), served, f.Without, f.Terms)
}

// describe returns the record of one act of a step whose last heal was at healed.
func (s *Schedule) describe(r result, healed time.Time) record.Fault {
	rec := record.Fault{
		Name: r.act.fault.Name, Detail: r.act.detail(), Hosts: r.act.names(), From: s.cluster.at(r.from), To: s.cluster.at(r.to),
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

// Fill adds the results so far to the record of a run. A fault that was tried and never
// made is in it as not done.
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
}

// Tally has the numbers of attempts and of successes of a fault.
type Tally struct {
	Fault       *Fault
	Tried, Made int
}

// Tallies returns the figures of all faults of the Config, in its order.
func (s *Schedule) Tallies() (all []Tally) {
	for _, f := range s.cfg.Faults {
		all = append(all, Tally{f, s.tries[f], s.done[f]})
	}
	return all
}
