package versus

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"
)

// goal is the maximum of the first contender's time without writes, as a part of the
// second's.
const goal = 0.5

// outage is the minimum time without a write that counts as an outage. A shorter time may
// be caused by other work on the machine, or by one lost segment, which TCP sends again
// after 200 ms.
const outage = 250 * time.Millisecond

// Complete reports whether every fault could be made.
func (r *Result) Complete() bool {
	return !slices.ContainsFunc(r.rows, func(row row) bool { return row.missing != "" })
}

// Write prints the table as Markdown. Before it are the conditions of its figures, and
// after it the rows that are not shown.
func (r *Result) Write(w io.Writer) error {
	var b strings.Builder
	a, z := r.cfg.Contenders[0], r.cfg.Contenders[1]
	fmt.Fprintf(&b, "%s (%s) and %s %s: %d nodes each, %s, %d writers whose requests get %s, %d rounds in turn, %s before and %s of each fault, %.0f s in all.\n\n",
		a.Name, a.Version, z.Name, z.Version, nodes, r.Kind, nodes*r.cfg.Writers, seconds(r.cfg.Timeout), r.cfg.Rounds,
		seconds(r.cfg.Steady), seconds(r.cfg.During), r.Took.Seconds())
	fmt.Fprintf(&b, "| fault | throughput during it, of that before: %s | %s | longest time without a write: %s | %s | %s ÷ %s | at most %g |\n|---|---|---|---|---|---|---|\n",
		a.Name, z.Name, a.Name, z.Name, a.Name, z.Name, goal)
	for _, row := range r.rows {
		if row.missing == "" {
			row.write(&b)
		}
	}
	b.WriteString("\n")
	for i, c := range r.cfg.Contenders {
		before, floor := r.steady(i)
		fmt.Fprintf(&b, "Before the faults %s took %s writes/s; the longest time without one was then %s. ",
			c.Name, spread(before, "%.0f"), spread(floor, "%.3f s"))
	}
	b.WriteString("Medians, and in brackets the least and most of the rounds.\n")
	for _, row := range r.rows {
		if row.missing != "" {
			fmt.Fprintf(&b, "\nNot shown, because it could not be made: %s (%s).\n", row.fault, row.missing)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// write prints the row of a fault.
func (r row) write(b *strings.Builder) {
	fmt.Fprintf(b, "| %s |", r.fault)
	for _, trials := range r.trials {
		fmt.Fprintf(b, " %s |", spread(of(trials, func(t trial) float64 { return 100 * t.share() }), "%.0f %%"))
	}
	for _, trials := range r.trials {
		cell := spread(of(trials, without), "%.3f s")
		if n := unserved(trials); n > 0 {
			cell += fmt.Sprintf(", of which %d did not end", n)
		}
		fmt.Fprintf(b, " %s |", cell)
	}
	fmt.Fprintf(b, " %.2f | %s |\n", r.ratio(), r.verdict())
}

// verdict says, in words, whether the goal is met.
func (r row) verdict() string {
	out := func(trials []trial) bool { return median(of(trials, without)) >= outage.Seconds() }
	switch {
	case unserved(r.trials[0]) > 0:
		return "missed"
	case !out(r.trials[0]) && !out(r.trials[1]):
		return "no outage of either"
	case r.ratio() <= goal:
		return "met"
	}
	return "missed"
}

// without returns a trial's longest time without a write, in seconds.
func without(t trial) float64 { return t.without.Seconds() }

// ratio returns the median of the rounds' ratios of the time without writes: a disturbance
// in a round affects both.
func (r row) ratio() float64 {
	var ratios []float64
	for i := range min(len(r.trials[0]), len(r.trials[1])) {
		ratios = append(ratios, without(r.trials[0][i])/without(r.trials[1][i]))
	}
	return median(ratios)
}

// steady returns a contender's throughput, and its longest time without a write, before
// each of its trials.
func (r *Result) steady(contender int) (rates, floors []float64) {
	for _, row := range r.rows {
		rates = append(rates, of(row.trials[contender], func(t trial) float64 { return t.before })...)
		floors = append(floors, of(row.trials[contender], func(t trial) float64 { return t.floor.Seconds() })...)
	}
	return rates, floors
}

// of returns one figure of each trial.
func of(trials []trial, figure func(trial) float64) []float64 {
	var values []float64
	for _, t := range trials {
		values = append(values, figure(t))
	}
	return values
}

// unserved returns the number of trials in which no write was acknowledged after the heal.
func unserved(trials []trial) (n int) {
	for _, t := range trials {
		if !t.served {
			n++
		}
	}
	return n
}

// spread writes the median of values, and the least and most of them.
func spread(values []float64, format string) string {
	if len(values) == 0 {
		return "–"
	}
	low, high := slices.Min(values), slices.Max(values)
	return fmt.Sprintf(format+" ("+format+"–"+format+")", median(values), low, high)
}

// median returns the middle of values, the mean of the two in the middle where their
// number is even, and NaN if there are none.
func median(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(values))
	return (sorted[(len(sorted)-1)/2] + sorted[len(sorted)/2]) / 2
}

// seconds writes a duration in seconds.
func seconds(d time.Duration) string { return fmt.Sprintf("%.3g s", d.Seconds()) }
