package report

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/kvorum/kvorum/test/chaos/record"
)

// panels returns the charts of a run.
func panels(run *record.Run, s span) []panel {
	cols := columns(run.Seconds)
	all := []panel{throughput(run, cols, s), latency(cols, s)}
	all = append(all,
		events("refused", "Refused", sumUp(run.Seconds).refused, cols, s, func(c column) spread { return c.refused }),
		events("unknown", "Unknown", sumUp(run.Seconds).unknown, cols, s, func(c column) spread { return c.unknown }))
	return append(all, leaders(run, s), terms(run, s))
}

// throughput shows the answers of each second, and the times without an acknowledged write.
func throughput(run *record.Run, cols []column, s span) panel {
	p := panel{ID: "throughput", Name: "Throughput", Unit: "per second", Height: 150}
	top, quiet := 0.0, 0
	for _, c := range cols {
		top = max(top, c.acked.high, c.reads.high)
		quiet += c.quiet
	}
	a := upTo(top, p.Height)
	p.Ticks = a.ticks()
	sum := sumUp(run.Seconds)
	always := func(column) bool { return true }
	low := func(c column) float64 { return c.acked.low }
	if len(cols) == len(run.Seconds) {
		low = func(column) float64 { return 0 } // columns are single seconds: the shade begins at the axis
	}
	p.Series = []series{{
		Class: "writes", Name: "writes", Figure: count(sum.acked),
		Peak: area(cols, s, a, low, func(c column) float64 { return c.acked.high }),
		Line: line(cols, s, a, func(c column) float64 { return c.acked.mean }, always),
	}, {
		Class: "reads", Name: "reads", Figure: count(sum.reads),
		Line: line(cols, s, a, func(c column) float64 { return c.reads.mean }, always),
	}, {
		Class: "gap", Name: "no write", Figure: count(quiet) + " s",
		Area: strip(cols, s, a.height, func(c column) float64 { return float64(c.quiet) / (c.to - c.from) }),
	}}
	p.Desc = fmt.Sprintf("%s writes were acknowledged and %s reads answered, at most %s of one kind in a second. In %s no write was acknowledged.",
		count(sum.acked), count(sum.reads), count(int(top)), counted(quiet, "second"))
	return p
}

// latency shows the latency of acknowledged writes.
func latency(cols []column, s span) panel {
	p := panel{ID: "latency", Name: "Latency of writes", Unit: "milliseconds", Height: 120}
	written := func(c column) bool { return c.p99 > 0 }
	low, high, medians := math.Inf(1), 0.0, []float64(nil)
	for _, c := range cols {
		if written(c) {
			low, high, medians = min(low, c.p50), max(high, c.p99), append(medians, c.p50)
		}
	}
	if high == 0 {
		p.Desc = "No write was acknowledged."
		low, high = 1, 10
	}
	from := int(math.Floor(math.Log10(max(low, 0.01))))
	to := max(int(math.Ceil(math.Log10(max(high, 0.01)))), from+1)
	a := axis{low: math.Pow10(from), high: math.Pow10(to), height: float64(p.Height), log: true}
	for power := to; power >= from; power-- {
		label := fmt.Sprintf("%g", math.Pow10(power))
		if power >= 3 {
			label = count(int(math.Pow10(power)))
		}
		p.Ticks = append(p.Ticks, a.tick(math.Pow10(power), label))
	}
	p.Series = []series{{
		Class: "p99", Name: "p99, peak", Figure: milliseconds(highest(cols, written, func(c column) float64 { return c.p99 })),
		Line: line(cols, s, a, func(c column) float64 { return c.p99 }, written),
	}, {
		Class: "p50", Name: "p50, median", Figure: milliseconds(median(medians)),
		Line: line(cols, s, a, func(c column) float64 { return c.p50 }, written),
	}}
	if p.Desc == "" {
		p.Desc = fmt.Sprintf("On a logarithmic scale: the median of a second was typically %s, and its 99th percentile at most %s.",
			milliseconds(median(medians)), milliseconds(high))
	}
	return p
}

// highest returns the highest figure of some columns, and 0 if there are none.
func highest(cols []column, counts func(column) bool, figure func(column) float64) float64 {
	high := 0.0
	for _, c := range cols {
		if counts(c) {
			high = max(high, figure(c))
		}
	}
	return high
}

// events shows rare events: their mean in each column, and the highest second.
func events(class, name string, sum int, cols []column, s span, figure func(column) spread) panel {
	p := panel{ID: class, Name: name, Unit: "per second", Height: 52}
	top := highest(cols, func(column) bool { return true }, func(c column) float64 { return figure(c).high })
	a := upTo(top, p.Height)
	p.Ticks = a.ticks()
	p.Series = []series{{
		Class: class, Name: "in sum", Figure: count(sum),
		Area: bars(cols, s, a, func(c column) float64 { return figure(c).mean }),
	}}
	if len(cols) > 0 && cols[0].to-cols[0].from > 1 {
		p.Series[0].Peak = bars(cols, s, a, func(c column) float64 { return figure(c).high })
	}
	p.Desc = fmt.Sprintf("%s in sum, at most %s in a second.", count(sum), count(int(top)))
	return p
}

// bars draws a figure of each column from the bottom of the panel up.
func bars(cols []column, s span, a axis, figure func(column) float64) string {
	var p path
	for _, c := range cols {
		if v := figure(c); v > 0 {
			y := min(a.y(v), a.height-2) // a single event must be visible
			p.box(s.x(c.from), y, max(s.x(c.to)-s.x(c.from), minWidth), a.height-y)
		}
	}
	return p.String()
}

// reign is a time in which the leader was the same.
type reign struct {
	from, to float64
	host     string
	term     uint64
}

// reigns returns the leaders and their times. Before the first record there is none.
func reigns(run *record.Run, s span) []reign {
	var all []reign
	last := reign{}
	for _, l := range run.Leaders {
		at := min(max(l.At, 0), s.length)
		if at > last.from {
			last.to = at
			all = append(all, last)
		}
		last = reign{from: at, host: l.Host, term: l.Term}
	}
	last.to = s.length
	return append(all, last)
}

// thinned drops reigns for which a chart has no room: of many in the same column of time it
// keeps the first, the last and one without a leader.
func thinned(all []reign, s span) []reign {
	size := s.length / maxColumns
	column := func(r reign) int { return int(r.from / size) }
	var kept []reign
	for i, r := range all {
		first := i == 0 || column(all[i-1]) != column(r)
		last := i == len(all)-1 || column(all[i+1]) != column(r)
		leaderless := !first && r.host == "" && kept[len(kept)-1].host != ""
		if first || last || leaderless {
			kept = append(kept, r)
		}
	}
	for i := range kept[1:] {
		kept[i].to = kept[i+1].from
	}
	return kept
}

// hostNames returns the names of all hosts that the record mentions, n2 before n10.
func hostNames(run *record.Run) []string {
	var names []string
	for _, l := range run.Leaders {
		names = append(names, l.Host)
	}
	for _, e := range run.Exits {
		names = append(names, e.Host)
	}
	for _, f := range run.Faults {
		names = append(names, f.Hosts...)
	}
	names = slices.DeleteFunc(names, func(name string) bool { return name == "" })
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b))
	})
	return slices.Compact(names)
}

// maxSteps is the maximum number of changes of the leader that are drawn as one line. With
// more, the vertical parts would cover everything, so only the horizontal ones are drawn.
const maxSteps = 200

// leaders shows the leaders: a row for each host, and one for times without a leader.
func leaders(run *record.Run, s span) panel {
	const row = 20
	hosts := hostNames(run)
	p := panel{ID: "leader", Name: "Leader", Unit: "as most nodes said", Height: row * (len(hosts) + 1)}
	y := func(host string) float64 {
		at := slices.Index(hosts, host)
		if at < 0 {
			at = len(hosts)
		}
		return row*float64(at) + row/2
	}
	all := reigns(run, s)
	var led, nobody path
	shown := thinned(all, s)
	for _, r := range shown {
		if len(shown) > maxSteps {
			led.lift()
		}
		led.to(s.x(r.from), y(r.host))
		led.to(s.x(r.to), y(r.host))
		if r.host == "" {
			nobody.box(s.x(r.from), y("")-4, max(s.x(r.to)-s.x(r.from), 0.5), 8)
		}
	}
	changes, without := 0, 0.0
	for i, r := range all {
		if r.host == "" {
			without += r.to - r.from
		} else if i > 0 && all[max(i-1, 0)].host != r.host {
			changes++
		}
	}
	for _, host := range append(hosts, "nobody") {
		p.Ticks = append(p.Ticks, tick{At: percent(y(host) / float64(p.Height)), Label: host})
	}
	p.Series = []series{
		{Class: "leads", Name: "changes", Figure: count(changes), Line: led.String()},
		{Class: "gap", Name: "nobody", Figure: seconds(without), Area: nobody.String()},
	}
	p.Desc = fmt.Sprintf("%s. Nobody led for %s.", ledFor(all), seconds(without))
	return p
}

// ledFor returns the time for which each host led, in words.
func ledFor(all []reign) string {
	times := map[string]float64{}
	for _, r := range all {
		times[r.host] += r.to - r.from
	}
	delete(times, "")
	var parts []string
	for host, time := range times {
		parts = append(parts, fmt.Sprintf("%s led for %s", host, seconds(time)))
	}
	if parts == nil {
		return "No leader was seen"
	}
	slices.Sort(parts)
	return strings.Join(parts, ", ")
}

// terms shows how the term grew.
func terms(run *record.Run, s span) panel {
	p := panel{ID: "term", Name: "Term", Unit: "", Height: 64}
	all := reigns(run, s)
	low, high := uint64(math.MaxUint64), uint64(0)
	for _, r := range all {
		if r.term > 0 {
			low, high = min(low, r.term), max(high, r.term)
		}
	}
	if high == 0 {
		p.Desc = "No term was seen."
		return p
	}
	a := axis{low: float64(low), high: float64(max(high, low+1)), height: float64(p.Height)}
	p.Ticks = []tick{a.tick(a.high, count(int(a.high))), a.tick(a.low, count(int(a.low)))}
	var steps path
	last := uint64(0)
	for _, r := range thinned(all, s) {
		last = max(last, r.term) // without an answer the term is at least the previous one
		if last > 0 {
			steps.to(s.x(r.from), a.y(float64(last)))
			steps.to(s.x(r.to), a.y(float64(last)))
		}
	}
	p.Series = []series{{
		Class: "term", Name: "new terms", Figure: count(int(high - low)), Line: steps.String(),
	}}
	p.Desc = fmt.Sprintf("The term grew from %d to %d.", low, high)
	return p
}
