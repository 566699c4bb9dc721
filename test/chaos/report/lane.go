package report

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/kvorum/kvorum/test/chaos/record"
)

// maxLanes is the maximum number of kinds of faults that have a row of their own.
const maxLanes = 60

// lane is a row under the charts: all faults of one name, or all marks of one kind.
type lane struct {
	Number string // of its first fault in the table, "" for none
	Name   string
	Times  int
	Class  string
	Desc   string // for people who can't see it
	Bars   []bar
	Many   string // the path of those that need no attention, if there are many
}

// bar is one fault, or one mark, in its lane. Lengths are in the charts' own units.
type bar struct {
	X, Width         string
	TailX, TailWidth string // from the heal until a write was acknowledged; "" for none
	Class            string // "made", "missing", "never", "mark"
	Title            string
}

// lanes returns the rows under the charts. Marks that need attention come first.
func lanes(run *record.Run, s span) []lane {
	var all []lane
	var broken, ended lane
	for _, v := range run.Violations {
		broken.mark(s, v.At, v.Promise+": "+v.What)
	}
	for _, e := range run.Exits {
		if !e.Asked {
			ended.mark(s, e.At, e.Host+" "+howEnded(e))
		}
	}
	broken.Name, broken.Class = "violations", "alarm"
	ended.Name, ended.Class = "ended by itself", "notice"
	for _, l := range []lane{broken, ended} {
		if l.Times > 0 {
			l.describe()
			all = append(all, l)
		}
	}
	return append(all, faultLanes(run, s)...)
}

// faultLanes returns a lane for each name of a fault, in the order of their first ones.
func faultLanes(run *record.Run, s span) []lane {
	var all []lane
	at := map[string]int{}
	for i, f := range run.Faults {
		k, known := at[f.Name]
		switch {
		case known:
		case len(all) < maxLanes:
			k = len(all)
			all = append(all, lane{Number: count(i + 1), Name: f.Name, Class: "fault"})
		default:
			k = maxLanes - 1
			all[k].Name, all[k].Number = "all others", ""
		}
		at[f.Name] = k
		all[k].Times++
		all[k].Bars = append(all[k].Bars, newBar(i+1, f, s))
	}
	for i := range all {
		all[i].describe()
		all[i].crowd(run.Faults, s)
	}
	return all
}

// crowd draws bars that need no attention as one shape, if the lane has many.
func (l *lane) crowd(faults []record.Fault, s span) {
	const many = 50
	if len(l.Bars) <= many {
		return
	}
	l.Bars = slices.DeleteFunc(l.Bars, func(b bar) bool { return b.Class == "made" })
	good := func(f record.Fault) bool { return f.Done && f.Served >= 0 && f.Name == l.Name }
	l.Many = boxes(faults, s, good, 1, 10)
}

// minWidth is the minimum width of a bar, so that it can be seen.
const minWidth = 3

// newBar returns the bar of a fault.
func newBar(i int, f record.Fault, s span) bar {
	x := min(s.x(f.From), plotWidth-minWidth)
	b := bar{Class: "made", X: number(x), Width: number(max(s.x(f.To)-x, minWidth))}
	b.Title = fmt.Sprintf("%d. %s, %s to %s", i, f.Name, moment(f.From, s.length), moment(f.To, s.length))
	switch {
	case !f.Done:
		b.Class = "missing"
		b.Title += ", not made: " + f.Reason
		return b
	case f.Served < 0:
		b.Class = "never"
		b.Title += ", no write was acknowledged after it"
		b.TailX, b.TailWidth = number(s.x(f.To)), number(plotWidth-s.x(f.To))
	default:
		b.Title += ", served again after " + seconds(f.Served)
		b.TailX, b.TailWidth = number(s.x(f.To)), number(s.x(f.To+f.Served)-s.x(f.To))
	}
	return b
}

// mark adds a mark at a time.
func (l *lane) mark(s span, at float64, title string) {
	l.Times++
	l.Bars = append(l.Bars, bar{
		Class: "mark", X: number(min(s.x(at), plotWidth-minWidth)), Width: number(minWidth),
		Title: moment(at, s.length) + ": " + title,
	})
}

// describe sets the description for people who can't see the lane.
func (l *lane) describe() {
	const most = 5
	var titles []string
	for _, b := range l.Bars[:min(most, len(l.Bars))] {
		titles = append(titles, b.Title)
	}
	if more := len(l.Bars) - most; more > 0 {
		titles = append(titles, fmt.Sprintf("and %d more", more))
	}
	l.Desc = strings.Join(titles, "; ")
}

// maxShades is the maximum number of faults that are shaded behind the charts. More would
// cover everything.
const maxShades = 99

// shade returns the path of all times in which a fault was in progress.
func shade(faults []record.Fault, s span) string {
	if len(faults) > maxShades {
		return ""
	}
	return boxes(faults, s, func(f record.Fault) bool { return f.Done }, 0, 100)
}

// edges returns the path of the beginnings of all shaded faults, which separates faults
// without a pause between them.
func edges(faults []record.Fault, s span) string {
	if len(faults) > maxShades {
		return ""
	}
	var p path
	for _, f := range faults {
		if f.Done {
			p.lift()
			p.to(s.x(f.From), 0)
			p.to(s.x(f.From), 100)
		}
	}
	return p.String()
}

// boxes returns the path of the times of all faults for which so is true, as one shape.
func boxes(faults []record.Fault, s span, so func(record.Fault) bool, y, height float64) string {
	type times struct{ from, to float64 }
	var all []times
	for _, f := range faults {
		if so(f) {
			from := min(s.x(f.From), plotWidth-minWidth)
			all = append(all, times{from, max(s.x(f.To), from+minWidth)})
		}
	}
	slices.SortFunc(all, func(a, b times) int { return cmp.Compare(a.from, b.from) })
	var p path
	for i := 0; i < len(all); {
		from, to := all[i].from, all[i].to
		for i++; i < len(all) && all[i].from <= to; i++ {
			to = max(to, all[i].to)
		}
		p.box(from, y, to-from, height)
	}
	return p.String()
}

// marks returns the numbers of faults over the charts, as far as there is room for them.
// Those without room on a phone are minor.
func marks(faults []record.Fault, s span) []tick {
	const desk, phone = 24, 75 // the width of a number
	if len(faults) > maxShades {
		return nil
	}
	var all []tick
	lastDesk, lastPhone := math.Inf(-1), math.Inf(-1)
	for i, f := range faults {
		x := (s.x(f.From) + s.x(f.To)) / 2
		if !f.Done || x-lastDesk < desk {
			continue
		}
		t := tick{At: percent(x / plotWidth), Label: count(i + 1)}
		lastDesk = x
		if x-lastPhone < phone {
			t.Class = "minor"
		} else {
			lastPhone = x
		}
		all = append(all, t)
	}
	return all
}
