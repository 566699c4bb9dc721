package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/kvorum/kvorum/test/chaos/record"
)

// told is the maximum number of violations that are printed.
const told = 20

// printer prints one line per event, with the seconds since the beginning. It is safe for
// concurrent use.
type printer struct {
	mu    sync.Mutex
	w     io.Writer // guarded by mu
	began time.Time // guarded by mu; zero before from
}

func newPrinter(w io.Writer) *printer { return &printer{w: w} }

// from sets the moment from which seconds are counted.
func (p *printer) from(began time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.began = began
}

// say prints one line.
func (p *printer) say(format string, args ...any) {
	text := strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", "; ")
	p.mu.Lock()
	defer p.mu.Unlock()
	var since time.Duration
	if !p.began.IsZero() {
		since = time.Since(p.began)
	}
	fmt.Fprintf(p.w, "%6.1f s  %s\n", since.Seconds(), text)
}

// handler returns a slog.Handler that prints as say does.
func (p *printer) handler() slog.Handler { return sayHandler{p, slog.DiscardHandler} }

// sayHandler prints records as lines, without attributes of groups.
type sayHandler struct {
	p *printer
	slog.Handler
}

// Enabled implements slog.Handler.
func (h sayHandler) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelInfo }

// Handle implements slog.Handler.
func (h sayHandler) Handle(_ context.Context, r slog.Record) error {
	text := r.Message
	r.Attrs(func(a slog.Attr) bool { text += fmt.Sprintf(" %s=%v", a.Key, a.Value); return true })
	h.p.say("%s", text)
	return nil
}

// verdict prints the coverage of a run and its findings.
func (p *printer) verdict(r *run, page string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.coverageLocked(r)
	p.summaryLocked(r.rec)
	fmt.Fprintf(p.w, "page:  %s\nagain: %s\n", page, r.rec.Command)
}

// coverageLocked prints the number of times that each fault was made, and the faults that
// were not made.
func (p *printer) coverageLocked(r *run) {
	var untried, names []string
	fmt.Fprintf(p.w, "\n%-42s %5s %5s %15s %9s\n", "fault", "tried", "made", "writes after", "without")
	for _, t := range r.tallies() {
		if t.Tried == 0 {
			untried = append(untried, t.Fault.Name)
			continue
		}
		var served, without float64
		for _, f := range r.rec.Faults {
			if f.Name == t.Fault.Name && f.Done {
				served, without = max(served, f.Served), max(without, f.Without)
			}
		}
		fmt.Fprintf(p.w, "%-42s %5d %5d %13.1f s %7.1f s\n", t.Fault.Name, t.Tried, t.Made, served, without)
	}
	if len(untried) > 0 {
		fmt.Fprintf(p.w, "no time for: %s\n", strings.Join(untried, ", "))
	}
	for name := range r.missing {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		fmt.Fprintf(p.w, "not in this kind of lab: %s: %s\n", name, r.missing[name])
	}
}

// summaryLocked prints the figures of a run, its findings, and the parts that it did not
// cover.
func (p *printer) summaryLocked(rec *record.Run) {
	acknowledged, reads, refused, unknown := 0, 0, 0, 0
	for _, s := range rec.Seconds {
		acknowledged, reads, refused, unknown = acknowledged+s.Acknowledged, reads+s.Reads, refused+s.Refused, unknown+s.Unknown
	}
	fmt.Fprintf(p.w, "\n%.0f s, %d faults; %d writes acknowledged, %d reads, %d refused, %d unknown\n",
		rec.Length, len(rec.Faults), acknowledged, reads, refused, unknown)
	var kinds []string
	for _, o := range rec.Operations {
		kinds = append(kinds, fmt.Sprintf("%s %d", o.Kind, o.Answered))
	}
	fmt.Fprintf(p.w, "answered: %s\n", strings.Join(kinds, ", "))
	for _, c := range rec.Checks {
		result := "passed"
		if !c.Passed {
			result = "FAILED"
		}
		fmt.Fprintf(p.w, "%s  %s: %s\n", result, c.Name, c.Of)
	}
	for _, v := range rec.Violations[:min(len(rec.Violations), told)] {
		fmt.Fprintf(p.w, "VIOLATION at %.1f s: %s: %.300s\n", v.At, v.Promise, v.What)
	}
	if more := len(rec.Violations) - told; more > 0 {
		fmt.Fprintf(p.w, "and %d more, which the page has\n", more)
	}
	for _, u := range rec.Gaps() {
		fmt.Fprintf(p.w, "not covered: %s: %s\n", u.What, u.Reason)
	}
	switch {
	case rec.Broken():
		fmt.Fprintln(p.w, "\nVIOLATED")
	case !rec.Passed():
		fmt.Fprintln(p.w, "\nnot all covered; no violation was found")
	default:
		fmt.Fprintln(p.w, "\npassed: no violation")
	}
}
