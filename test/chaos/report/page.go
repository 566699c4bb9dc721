package report

import (
	"cmp"
	"fmt"
	"html/template"
	"math"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/kvorum/kvorum/test/chaos/record"
)

// page has the data for the template of a run.
type page struct {
	Style    template.CSS
	Run      *record.Run
	Program  string
	Verdict  verdict
	Facts    []fact
	Figures  []figure
	Shade    string
	Edges    string
	Marks    []tick
	Panels   []panel
	Hover    []hover
	TimeAxis []tick
	Lanes    []lane
	Dense    bool   // there is no room for dashes
	Columns  string // the time of a column of the charts, "" if it is a second
	Rows     []row
	Totals   []totalRow // if faults were made twice or more on average, otherwise none
	Faults   []faultRow
	Exits    []exitRow
	// Long tables are folded, and very long ones say what they omit.
	FoldFaults, FoldExits             bool
	FaultsLeft, ExitsLeft, BrokenLeft int

	Broken []violation
	Gaps   []record.Uncovered
	Keys   []key
}

// verdict is the first line of a page.
type verdict struct {
	Class  string // "passed", "broken" or "uncovered"
	Word   string // such as "2 violations"
	Reason string // a sentence
}

// fact is a property of the run that was known before it.
type fact struct{ Name, Text string }

// figure is a number of the whole run.
type figure struct{ Name, Number, Note string }

// hover is the area of a column of the charts, with its figures.
type hover struct{ X, Width, Title string }

// row is a row of the table of figures.
type row struct{ When, Acked, Reads, Refused, Unknown, P50, P99 string }

// faultRow is a row of the table of faults.
type faultRow struct {
	Number                                   int
	Name, How, Hosts, From, To               string
	Served, Without, Terms, Result, ResultID string
}

// exitRow is a row of the table of ends.
type exitRow struct {
	At, Host, How, Why string
	Asked              bool
}

// violation is a broken promise with its evidence.
type violation struct {
	record.Violation
	When    string
	Text    string // the text of its evidence, if it is text
	Missing bool   // the evidence isn't there
	Key     int    // the evidence is the picture of this key, counted from 1
}

// key is a key without an order.
type key struct {
	record.Key
	Number int
	Frame  template.HTMLAttr // the document of its picture; "" if it is too large to be shown
	File   string            // its picture's file beside the page, "" for none
}

// longTable is the maximum number of rows of a table that is not folded, and maxTable is
// the maximum of any table. The record has all rows.
const (
	longTable = 60
	maxTable  = 200
)

// newPage prepares the data of a run's page.
func newPage(run *record.Run, evidence map[string][]byte) *page {
	s := span{length: max(run.Length, float64(len(run.Seconds)), 1)}
	p := &page{
		Style: style, Run: run, Program: program(run), Verdict: judge(run), Facts: facts(run), Figures: figures(run),
		Shade: shade(run.Faults, s), Edges: edges(run.Faults, s), Marks: marks(run.Faults, s), Panels: panels(run, s), TimeAxis: s.ticks(), Lanes: lanes(run, s),
		Gaps: run.Gaps(), Keys: keys(run),
	}
	cols := columns(run.Seconds)
	if len(cols) > 0 && len(cols) < len(run.Seconds) {
		p.Columns = length(cols[0].to - cols[0].from)
		p.Dense = true
	}
	p.Hover, p.Rows = hovers(cols, s), rows(run, s)
	if all := totals(run); 2*len(all) <= len(run.Faults) {
		p.Totals = totalRows(all)
	}
	p.fillTables(run, evidence, s)
	return p
}

// fillTables fills in the tables, or the most important part of each.
func (p *page) fillTables(run *record.Run, evidence map[string][]byte, s span) {
	p.FoldFaults, p.FoldExits = len(run.Faults) > longTable, len(run.Exits) > longTable
	faults := notable(run.Faults, func(f record.Fault) float64 {
		if !f.Done || f.Served < 0 {
			return math.Inf(1)
		}
		return f.Without
	})
	for _, i := range faults {
		p.Faults = append(p.Faults, newFaultRow(i+1, run.Faults[i], s))
	}
	exits := slices.SortedStableFunc(slices.Values(run.Exits), func(a, b record.Exit) int { return cmp.Compare(a.At, b.At) })
	for _, i := range notable(exits, func(e record.Exit) float64 { return weight(!e.Asked) }) {
		e := exits[i]
		p.Exits = append(p.Exits, exitRow{
			At: moment(e.At, s.length), Host: e.Host, How: howEnded(e), Asked: e.Asked, Why: orNone(e.Why),
		})
	}
	for _, i := range notable(run.Violations, func(v record.Violation) float64 { return weight(v.Evidence != "") }) {
		p.Broken = append(p.Broken, newViolation(run.Violations[i], evidence, s))
		for at, k := range p.Keys {
			if k.Frame != "" && k.File == run.Violations[i].Evidence {
				p.Broken[len(p.Broken)-1].Key = at + 1
			}
		}
	}
	p.FaultsLeft = len(run.Faults) - len(p.Faults)
	p.ExitsLeft = len(run.Exits) - len(p.Exits)
	p.BrokenLeft = len(run.Violations) - len(p.Broken)
}

// weight returns 1 if attention is set, otherwise 0.
func weight(attention bool) float64 {
	if attention {
		return 1
	}
	return 0
}

// notable returns the indexes of at most maxTable elements of all, in order: those with the
// greatest weight, and the earlier ones among equals.
func notable[T any](all []T, weigh func(T) float64) []int {
	indexes := make([]int, len(all))
	for i := range all {
		indexes[i] = i
	}
	if len(all) > maxTable {
		slices.SortStableFunc(indexes, func(a, b int) int { return cmp.Compare(weigh(all[b]), weigh(all[a])) })
		indexes = indexes[:maxTable]
		slices.Sort(indexes)
	}
	return indexes
}

// judge returns the verdict of a run. A violation has precedence over a gap.
func judge(run *record.Run) verdict {
	made, gaps := 0, len(run.Gaps())
	for _, f := range run.Faults {
		if f.Done {
			made++
		}
	}
	did := fmt.Sprintf("%s in %s against %s", counted(made, "fault"), length(run.Length), counted(run.Nodes, "node"))
	open := ""
	if gaps > 0 {
		open = fmt.Sprintf(" Also, %s not covered.", areOrIs(gaps, "item"))
	}
	switch {
	case len(run.Violations) > 0:
		return verdict{"broken", counted(len(run.Violations), "violation"),
			did + ". A promise was broken." + open}
	case run.Broken():
		return verdict{"broken", "Failed", did + ". A check failed." + open}
	case gaps > 0:
		return verdict{"uncovered", "Not covered",
			fmt.Sprintf("%s. Nothing was seen to break, but %s not covered.", did, areOrIs(gaps, "item"))}
	default:
		return verdict{"passed", "Passed", did + ". No promise was broken, and nothing was left out."}
	}
}

// areOrIs returns a number, its noun and the verb that goes with it.
func areOrIs(n int, noun string) string {
	if n == 1 {
		return counted(n, noun) + " is"
	}
	return counted(n, noun) + " are"
}

// program returns the name and version of the tested program, the name only once.
func program(run *record.Run) string {
	if strings.HasPrefix(run.Version, run.Program+" ") {
		return run.Version
	}
	return strings.TrimSpace(run.Program + " " + run.Version)
}

// facts returns the tested program and the method.
func facts(run *record.Run) []fact {
	kind := map[string]string{
		"namespaces": "network namespaces",
		"proxy":      "loopback behind a proxy",
		"docker":     "docker-compose.yml",
	}[run.Kind]
	if kind == "" {
		kind = orNone(run.Kind)
	}
	return []fact{
		{"Program", orNone(program(run))},
		{"Seed", fmt.Sprint(run.Seed)},
		{"Lab", kind},
		{"Length", length(run.Length)},
		{"Nodes", count(run.Nodes)},
		{"Clients", count(run.Clients)},
		{"Began", date(run.Began)},
	}
}

// figures returns the figures of the whole run.
func figures(run *record.Run) []figure {
	sum := sumUp(run.Seconds)
	perSecond := func(n int) string {
		return count(n/max(len(run.Seconds), 1)) + " per second"
	}
	made, longest, in := 0, -1.0, "no fault was made"
	var served []float64
	for _, f := range run.Faults {
		if !f.Done {
			continue
		}
		made++
		if f.Served >= 0 {
			served = append(served, f.Served)
		}
		if f.Without > longest {
			longest, in = f.Without, f.Name
		}
	}
	again, note := none, "no fault was healed"
	if len(served) > 0 {
		again, note = seconds(median(served)), "at most "+seconds(quantile(served, 1))
	}
	return []figure{
		{"writes acknowledged", count(sum.acked), perSecond(sum.acked)},
		{"reads answered", count(sum.reads), perSecond(sum.reads)},
		{"operations refused", count(sum.refused), "answered as not done"},
		{"outcomes unknown", count(sum.unknown), "writes without an answer"},
		{"faults made", count(made), "of " + count(len(run.Faults))},
		{"heal until served, median", again, note},
		{"longest without a write", seconds(longest), in},
		{"violations", count(len(run.Violations)), fmt.Sprintf("%s not covered", counted(len(run.Gaps()), "item"))},
	}
}

// hovers returns the areas of the columns, which show their figures under a pointer.
func hovers(cols []column, s span) []hover {
	var all []hover
	for _, c := range cols {
		all = append(all, hover{X: number(s.x(c.from)), Width: number(s.x(c.to) - s.x(c.from)), Title: fmt.Sprintf(
			"%s\n%.0f writes/s, %.0f reads/s\np50 %s, p99 %s\n%.0f refused, %.0f unknown",
			moment(c.from, s.length), c.acked.mean, c.reads.mean, milliseconds(c.p50), milliseconds(c.p99),
			c.refused.high, c.unknown.high)})
	}
	return all
}

// maxRows is the maximum number of rows of the table of figures.
const maxRows = 120

// rows returns the table of figures. A row is the sum of so many seconds that maxRows is
// enough.
func rows(run *record.Run, s span) []row {
	size := max((len(run.Seconds)+maxRows-1)/maxRows, 1)
	var all []row
	for from := 0; from < len(run.Seconds); from += size {
		some := run.Seconds[from:min(from+size, len(run.Seconds))]
		sum, c := sumUp(some), newColumn(from, from+len(some), some)
		all = append(all, row{
			When: tickMoment(float64(from), s.length), Acked: count(sum.acked), Reads: count(sum.reads), Refused: count(sum.refused),
			Unknown: count(sum.unknown), P50: milliseconds(c.p50), P99: milliseconds(c.p99),
		})
	}
	return all
}

// newFaultRow returns the row of a fault.
func newFaultRow(number int, f record.Fault, s span) faultRow {
	r := faultRow{
		Number: number, Name: f.Name, How: f.Detail, Hosts: orNone(strings.Join(f.Hosts, ", ")),
		From: moment(f.From, s.length), To: moment(f.To, s.length),
		Served: seconds(f.Served), Without: seconds(f.Without), Terms: fmt.Sprint(f.Terms),
		Result: "made", ResultID: "passed",
	}
	switch {
	case !f.Done:
		r.Served, r.Without, r.Terms = none, none, none
		r.Result, r.ResultID = "not made", "uncovered"
		r.How = strings.TrimPrefix(f.Detail+"; not made: "+orNone(f.Reason), "; ")
	case f.Served < 0:
		r.Served, r.Result, r.ResultID = "never", "not served", "broken"
	}
	return r
}

// howEnded describes the end of a process.
func howEnded(e record.Exit) string {
	if e.Signal != "" {
		return "signal: " + e.Signal
	}
	return fmt.Sprintf("exit code %d", e.Code)
}

// newViolation returns a violation with its evidence, if that is text.
func newViolation(v record.Violation, evidence map[string][]byte, s span) violation {
	all := violation{Violation: v, When: moment(v.At, s.length)}
	data, found := evidence[v.Evidence]
	all.Missing = v.Evidence != "" && !found
	if utf8.Valid(data) && !strings.HasSuffix(v.Evidence, ".html") {
		all.Text = shortened(string(data))
	}
	return all
}

// shortened omits the middle of a long text.
func shortened(text string) string {
	const half = 16 << 10
	if len(text) <= 2*half {
		return text
	}
	head, tail := text[:half], text[len(text)-half:]
	return fmt.Sprintf("%s\n\n… %s bytes are left out here; the file has them …\n\n%s",
		strings.ToValidUTF8(head, ""), count(len(text)-2*half), strings.ToValidUTF8(tail, ""))
}

// maxFrames is the maximum number of bytes of pictures in a page. Others are only in files.
const maxFrames = 8 << 20

// keys returns the keys without an order, and their pictures as far as there is room.
func keys(run *record.Run) []key {
	var all []key
	room := maxFrames
	for i, k := range run.Keys {
		shown := key{Key: k, Number: i + 1}
		if k.Picture != "" {
			shown.File = pictureFile(i)
			if room -= len(k.Picture); room >= 0 {
				// The template would drop the document's tags: a browser reads this
				// attribute as a document, and shows it in a frame without rights.
				shown.Frame = template.HTMLAttr(`srcdoc="` + template.HTMLEscapeString(k.Picture) + `"`)
			}
		}
		all = append(all, shown)
	}
	return all
}

// pictureFile names the file that holds the picture of key i.
func pictureFile(i int) string { return fmt.Sprintf("key-%d.html", i+1) }
