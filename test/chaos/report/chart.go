package report

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// plotWidth is the width of every chart in its own units; the page stretches it.
const plotWidth = 1000

// panel is one chart of the timeline. All share their horizontal axis.
type panel struct {
	ID     string
	Name   string
	Unit   string
	Height int    // in pixels
	Desc   string // a description of the chart, for people who can't see it
	Series []series
	Ticks  []tick
}

// series is one line of a panel, with its legend.
type series struct {
	Class  string // selects colour and dashes
	Name   string
	Figure string // its sum or its extreme
	Peak   string // a path that is filled lightly: the extremes of single seconds
	Area   string // a path that is filled
	Line   string // a path that is drawn
}

// tick is a label of an axis.
type tick struct {
	At    string // percent from the top or from the left
	Label string
	Class string
}

// axis maps the values of a panel to its height.
type axis struct {
	low, high float64
	height    float64
	log       bool
}

// y returns the distance of a value from the top.
func (a axis) y(v float64) float64 {
	low, high := a.low, a.high
	if a.log {
		v, low, high = math.Log10(max(v, low)), math.Log10(low), math.Log10(high)
	}
	part := min(max((v-low)/(high-low), 0), 1)
	return (1 - part) * a.height
}

// tick returns the label of a value.
func (a axis) tick(v float64, label string) tick {
	return tick{At: percent(a.y(v) / a.height), Label: label}
}

// upTo returns an axis from 0 to a round number that is not below v.
func upTo(v float64, height int) axis {
	a := axis{high: 1, height: float64(height)}
	if v <= 1 {
		return a
	}
	power := math.Pow10(int(math.Floor(math.Log10(v))))
	for _, digit := range []float64{1, 2, 3, 4, 5, 6, 8, 10} {
		if a.high = digit * power; a.high >= v {
			break
		}
	}
	return a
}

// ticks returns the labels of a linear axis: its ends, and its middle if that is whole
// and there is room.
func (a axis) ticks() []tick {
	all := []tick{a.tick(a.high, count(int(a.high)))}
	if middle := a.high / 2; middle == math.Trunc(middle) && a.height >= 60 {
		all = append(all, a.tick(middle, count(int(middle))))
	}
	return append(all, a.tick(0, "0"))
}

// percent returns a part of one for a style sheet.
func percent(part float64) string { return number(part*100) + "%" }

// number returns a coordinate, rounded to a tenth.
func number(v float64) string {
	return strings.TrimSuffix(strconv.FormatFloat(v, 'f', 1, 64), ".0")
}

// span maps the time of a run to the width of the charts.
type span struct {
	length float64 // of the run, in seconds, above 0
}

// x returns the position of a time. A time outside of the run is drawn at the run's
// beginning or end.
func (s span) x(at float64) float64 {
	return min(max(at/s.length, 0), 1) * plotWidth
}

// ticks returns the labels of the time axis. Phones omit every second one.
func (s span) ticks() []tick {
	step := s.length
	for _, nice := range []float64{1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400} {
		if s.length/nice <= 9 {
			step = nice
			break
		}
	}
	var all []tick
	for i := 0; float64(i)*step <= s.length*1.001; i++ {
		at := float64(i) * step
		t := tick{At: percent(s.x(at) / plotWidth), Label: tickMoment(at, s.length)}
		switch {
		case i == 0:
			t.Class = "first"
		case at > s.length*0.96:
			t.Class = "last"
		}
		if i%2 == 1 {
			t.Class = strings.TrimSpace(t.Class + " minor")
		}
		all = append(all, t)
	}
	return all
}

// path builds the path of a line or of an area.
type path struct {
	strings.Builder
	open bool // the line continues
}

// to draws a line to a point, or begins one there.
func (p *path) to(x, y float64) {
	verb := "L"
	if !p.open {
		verb, p.open = "M", true
	}
	fmt.Fprintf(p, "%s%s %s", verb, number(x), number(y))
}

// lift ends a line: the next point begins another one.
func (p *path) lift() { p.open = false }

// box adds a rectangle.
func (p *path) box(x, y, width, height float64) {
	fmt.Fprintf(p, "M%s %sh%sv%sh-%sz", number(x), number(y), number(width), number(height), number(width))
	p.open = false
}

// line draws one figure of each column; a column whose figure isn't shown is a gap. A
// column between two gaps is drawn with its own width.
func line(cols []column, s span, a axis, figure func(column) float64, shown func(column) bool) string {
	var p path
	alone := func(i int) bool {
		return (i == 0 || !shown(cols[i-1])) && (i == len(cols)-1 || !shown(cols[i+1]))
	}
	for i, c := range cols {
		switch y := a.y(figure(c)); {
		case !shown(c):
			p.lift()
		case alone(i):
			p.to(s.x(c.from), y)
			p.to(s.x(c.to), y)
		default:
			p.to(s.x((c.from+c.to)/2), y)
		}
	}
	return p.String()
}

// area fills the area between two figures of all columns.
func area(cols []column, s span, a axis, low, high func(column) float64) string {
	if len(cols) == 0 {
		return ""
	}
	var p path
	middle := func(c column) float64 { return s.x((c.from + c.to) / 2) }
	for _, c := range cols {
		p.to(middle(c), a.y(high(c)))
	}
	for i := range cols {
		c := cols[len(cols)-1-i]
		p.to(middle(c), a.y(low(c)))
	}
	return p.String() + "z"
}

// strip marks, at the bottom of a panel, a part of each column. In a column of many seconds
// it does not show which of them are meant.
func strip(cols []column, s span, height float64, part func(column) float64) string {
	const thick = 5
	var p path
	for i := 0; i < len(cols); i++ {
		c := cols[i]
		to := c.from + part(c)*(c.to-c.from)
		for ; to == cols[i].to && i+1 < len(cols) && part(cols[i+1]) > 0; i++ {
			next := cols[i+1]
			to += part(next) * (next.to - next.from)
		}
		if to > c.from {
			p.box(s.x(c.from), height-thick, max(s.x(to)-s.x(c.from), 0.5), thick)
		}
	}
	return p.String()
}
