package report

import (
	_ "embed" // for the templates
	"fmt"
	"html/template"
	"os"
	"path/filepath"
	"strings"
	texttemplate "text/template"

	"github.com/kvorum/kvorum/test/chaos/record"
)

// summary has the data for the templates of several runs.
type summary struct {
	Style      template.CSS
	Verdict    verdict
	Figures    []figure
	Totals     []totalRow
	Runs       []runRow
	Violations []foundRow
	Gaps       []gapRow
}

// totalRow is a row of the table of all faults of one name.
type totalRow struct {
	Name, Made, Missing, Served, Slowest, Never, Without, Terms, MaxTerms, Share string
}

// runRow is a row of the table of runs.
type runRow struct {
	Began, Program, Kind, Seed, Length, Nodes, Faults, Acked, Reads, Refused, Unknown string
	Violations, Gaps, Command                                                         string
	Class, Result                                                                     string
}

// foundRow is a violation and its run.
type foundRow struct{ Seed, When, Promise, What string }

// gapRow is something that was not covered, and in how many runs.
type gapRow struct {
	What, Reason string
	Runs         int
}

//go:embed summary.html.tmpl
var summaryText string

//go:embed summary.md.tmpl
var markdownText string

// The templates of a *summary.
var (
	summaryTemplate  = parse("summary", summaryText)
	markdownTemplate = texttemplate.Must(texttemplate.New("summary").Funcs(texttemplate.FuncMap{"cell": cell}).Parse(markdownText))
)

// WriteSummary adds runs up. It writes a page of them, and the same tables in Markdown,
// into a directory, which it makes if there is none. It returns the page's path.
func WriteSummary(dir string, runs []*record.Run) (path string, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("directory of the report: %w", err)
	}
	s := newSummary(runs)
	html, err := render(summaryTemplate, s)
	if err != nil {
		return "", err
	}
	var markdown strings.Builder
	if err := markdownTemplate.Execute(&markdown, s); err != nil {
		return "", fmt.Errorf("report: %w", err)
	}
	return filepath.Join(dir, summaryFile), writeAll(dir, map[string][]byte{
		summaryFile: html, markdownFile: []byte(markdown.String()),
	})
}

// newSummary adds runs up.
func newSummary(runs []*record.Run) *summary {
	s := &summary{Style: style, Verdict: judgeAll(runs), Totals: totalRows(totals(runs...))}
	gaps := map[record.Uncovered]int{}
	for _, run := range runs {
		s.Runs = append(s.Runs, newRunRow(run))
		for _, v := range run.Violations {
			s.Violations = append(s.Violations, foundRow{fmt.Sprint(run.Seed), moment(v.At, run.Length), v.Promise, v.What})
		}
		for _, u := range run.Gaps() {
			at, known := gaps[u]
			if !known {
				at = len(s.Gaps)
				gaps[u] = at
				s.Gaps = append(s.Gaps, gapRow{What: u.What, Reason: u.Reason})
			}
			s.Gaps[at].Runs++
		}
	}
	s.Figures = summaryFigures(runs, s)
	return s
}

// judgeAll is judge for several runs: the worst of them counts.
func judgeAll(runs []*record.Run) verdict {
	broken, open, time := 0, 0, 0.0
	violations := 0
	for _, run := range runs {
		time += run.Length
		violations += len(run.Violations)
		if run.Broken() {
			broken++
		} else if !run.Passed() {
			open++
		}
	}
	did := fmt.Sprintf("%s of %s together", counted(len(runs), "run"), length(time))
	switch {
	case len(runs) == 0:
		return verdict{"uncovered", "Not covered", "There is no run."}
	case violations > 0:
		return verdict{"broken", counted(violations, "violation"), fmt.Sprintf("A promise was broken in %d of %s.", broken, did)}
	case broken > 0:
		return verdict{"broken", "Failed", fmt.Sprintf("A check failed in %d of %s.", broken, did)}
	case open > 0:
		return verdict{"uncovered", "Not covered", fmt.Sprintf("Nothing was seen to break, but %d of %s left something out.", open, did)}
	default:
		return verdict{"passed", "Passed", fmt.Sprintf("No promise was broken in %s.", did)}
	}
}

// summaryFigures sums all runs up.
func summaryFigures(runs []*record.Run, s *summary) []figure {
	var sum sums
	made, missing, time := 0, 0, 0.0
	for _, run := range runs {
		one := sumUp(run.Seconds)
		sum.acked, sum.reads = sum.acked+one.acked, sum.reads+one.reads
		sum.refused, sum.unknown = sum.refused+one.refused, sum.unknown+one.unknown
		time += run.Length
	}
	for _, t := range totals(runs...) {
		made, missing = made+t.Made, missing+t.Missing
	}
	return []figure{
		{"time", length(time), counted(len(runs), "run")},
		{"faults made", count(made), fmt.Sprintf("%s, %d not made", counted(len(s.Totals), "kind"), missing)},
		{"violations", count(len(s.Violations)), fmt.Sprintf("%s not covered", counted(len(s.Gaps), "item"))},
		{"writes acknowledged", count(sum.acked), ""},
		{"reads answered", count(sum.reads), ""},
		{"operations refused", count(sum.refused), "answered as not done"},
		{"outcomes unknown", count(sum.unknown), "writes without an answer"},
	}
}

// totalRows returns the table of all faults by name.
func totalRows(all []*total) []totalRow {
	var rows []totalRow
	for _, t := range all {
		r := totalRow{
			Name: t.Name, Made: count(t.Made), Missing: count(t.Missing), Never: count(t.Never),
			Served: none, Slowest: none, Without: none, Terms: none, MaxTerms: none, Share: share(t.Share()),
		}
		if len(t.Served) > 0 {
			r.Served, r.Slowest = seconds(median(t.Served)), seconds(quantile(t.Served, 1))
		}
		if t.Made > 0 {
			r.Without, r.Terms, r.MaxTerms = seconds(t.Without), fmt.Sprint(t.Terms), fmt.Sprint(t.MaxTerms)
		}
		rows = append(rows, r)
	}
	return rows
}

// newRunRow returns the row of a run.
func newRunRow(run *record.Run) runRow {
	sum, v, made := sumUp(run.Seconds), judge(run), 0
	for _, f := range run.Faults {
		if f.Done {
			made++
		}
	}
	return runRow{
		Began: date(run.Began), Program: program(run), Kind: run.Kind,
		Seed: fmt.Sprint(run.Seed), Length: length(run.Length), Nodes: counted(run.Nodes, "node"),
		Faults: count(made) + " of " + count(len(run.Faults)), Acked: count(sum.acked), Reads: count(sum.reads),
		Refused: count(sum.refused), Unknown: count(sum.unknown), Violations: count(len(run.Violations)),
		Gaps: count(len(run.Gaps())), Command: run.Command, Class: v.Class, Result: v.Word,
	}
}

// cell makes a text safe for a cell of a Markdown table.
func cell(text string) string {
	return strings.NewReplacer("|", `\|`, "\n", " ", "\r", " ", "<", "&lt;", ">", "&gt;").Replace(orNone(text))
}
