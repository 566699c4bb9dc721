package report_test

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"github.com/kvorum/kvorum/test/chaos/record"
	"github.com/kvorum/kvorum/test/chaos/report"
)

// mustWrite writes the page of a run into a new directory and returns its path.
func mustWrite(t testing.TB, run *record.Run) string {
	t.Helper()
	path, err := report.Write(filepath.Join(t.TempDir(), "new", "directory"), run)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// TestWrite_Values shows that the page of a good run has its figures in all places.
func TestWrite_Values(t *testing.T) {
	run := sample()
	page := parse(t, mustWrite(t, run))
	if got := text(elements(page, "h1")[0]); got != "Passed" {
		t.Errorf("verdict %q, want Passed", got)
	}
	sum := 0
	for _, s := range run.Seconds {
		sum += s.Unknown
	}
	wantTexts(t, page, "14 faults in 2 min against 3 nodes", "kvorum v0.9.2-14-g8f88fe8", "Seed 4288713090211", "network namespaces",
		"make chaos SECONDS=120 SEED=4288713090211 NODES=3", "2026-11-27 22:04 UTC")
	wantTexts(t, part(t, page, "sums"), fmt.Sprintf("outcomes unknown %d", sum), "faults made 14 of 14", "longest without a write 5.19 s kill all")
	rows := table(t, part(t, page, "faults"))
	if len(rows) != 15 {
		t.Fatalf("%d rows of faults, want a head and 14", len(rows))
	}
	want := []string{"8 kill all", "made", "60.9 s", "63.9 s", "2.33 s", "5.19 s", "1", "n1, n2, n3", "SIGKILL of three at once"}
	if !slices.Equal(rows[8], want) {
		t.Errorf("row of a fault %q, want %q", rows[8], want)
	}
	want = []string{"equal hash at equal index", "passed", "index 51,877 on 3 nodes"}
	if rows := table(t, part(t, page, "checks")); !slices.Equal(rows[3], want) {
		t.Errorf("row of a check %q, want %q", rows[3], want)
	}
	want = []string{"txn", "4,112", "233", "31"}
	if rows := table(t, part(t, page, "operations")); len(rows) != 4 || !slices.Equal(rows[2], want) {
		t.Errorf("rows of operations %q, want %q in them", rows, want)
	}
	if rows := table(t, part(t, page, "timeline")); len(rows) != 121 {
		t.Errorf("%d rows of figures, want a head and 120", len(rows))
	}
	for _, id := range []string{"violations", "keys", "gaps"} {
		for _, n := range elements(page) {
			if attribute(n, "id") == id {
				t.Errorf("a good run has a section %q", id)
			}
		}
	}
}

// TestWrite_Charts shows that each chart has a title, a description and a drawing, and that
// each fault has a bar with its time.
func TestWrite_Charts(t *testing.T) {
	run := broken(t)
	page := parse(t, mustWrite(t, run))
	for _, id := range []string{"throughput", "latency", "refused", "unknown", "leader", "term"} {
		panel := part(t, page, id)
		if text(part(t, page, id+"-title")) == "" || text(part(t, page, id+"-desc")) == "" {
			t.Errorf("the chart %q has no title or no description", id)
		}
		drawn := slices.ContainsFunc(elements(panel, "path"), func(n *html.Node) bool { return len(attribute(n, "d")) > 100 })
		if !drawn {
			t.Errorf("the chart %q is empty", id)
		}
	}
	titles := map[string]string{}
	for _, g := range elements(page, "g") {
		if title := elements(g, "title"); len(title) == 1 {
			titles[text(title[0])] = attribute(g, "class")
		}
	}
	for title, class := range map[string]string{
		"8. kill all, 60.9 s to 63.9 s, served again after 2.33 s":                                   "bar made",
		"9. full disk, 66.5 s to 71.5 s, not made: mount: permission denied; it takes CAP_SYS_ADMIN": "bar missing",
		"13. partition of a majority, 92.0 s to 97.0 s, no write was acknowledged after it":          "bar never",
		"118.9 s: an acknowledged write is kept: 3 of 46,201 acknowledged writes are missing on n2":  "bar mark",
		`88.1 s: n3 exit code 3`: "bar mark",
	} {
		if titles[title] != class {
			t.Errorf("the bar %q is %q, want %q", title, titles[title], class)
		}
	}
}

// TestWrite_Broken shows that violations come first, with their evidence, and that
// uncovered parts are shown.
func TestWrite_Broken(t *testing.T) {
	run := broken(t)
	path := mustWrite(t, run)
	page := parse(t, path)
	if got := text(elements(page, "h1")[0]); got != "2 violations" {
		t.Errorf("verdict %q, want 2 violations", got)
	}
	wantTexts(t, page, "Also, 2 items are not covered.")
	wantTexts(t, part(t, page, "violations"), "reads are linearizable", "At 61.2 s. Evidence: key-1.html , beside this page, and below .",
		"an acknowledged write is kept", "k/202 c9-00412 61.121 s")
	wantTexts(t, part(t, page, "gaps"), "client c7 on n2 61 acknowledged writes, and 100 are needed", "full disk mount: permission denied")
	wantTexts(t, part(t, page, "key-1"), "k/17", "older than what c4 has seen")
	wantTexts(t, part(t, page, "exits"), "n3 88.1 s exit code 3 itself", "checksum mismatch at offset 1048576")
	wantTexts(t, part(t, page, "faults"), "9 full disk not made", "13 partition of a majority not served 92.0 s 97.0 s never")
	frames := elements(page, "iframe")
	if len(frames) != 1 {
		t.Fatalf("%d frames, want 1", len(frames))
	}
	if got, want := attribute(frames[0], "srcdoc"), run.Keys[0].Picture; got != want {
		t.Errorf("the frame's document has %d bytes, porcupine's has %d, or they differ", len(got), len(want))
	}
	if got := attribute(frames[0], "sandbox"); got != "allow-scripts" {
		t.Errorf("the frame may %q", got)
	}
	for name, want := range map[string]string{"missing.txt": string(run.Files["missing.txt"]), "key-1.html": run.Keys[0].Picture} {
		got, err := os.ReadFile(filepath.Join(filepath.Dir(path), name))
		if err != nil || string(got) != want {
			t.Errorf("the evidence %s is not what it was: %v", name, err)
		}
	}
}

// TestWrite_Verdict shows the first line for runs that are neither good nor bad.
func TestWrite_Verdict(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*record.Run)
		word   string
		reason string
	}{
		{"Empty", func(r *record.Run) { *r = record.Run{} }, "Not covered", "2 items are not covered"},
		{"FaultNotMade", func(r *record.Run) { r.Faults[0].Done = false }, "Not covered", "1 item is not covered"},
		{"CheckFailed", func(r *record.Run) { r.Checks[0].Passed = false }, "Failed", "A check failed"},
		{"OneViolation", func(r *record.Run) { r.Violations = []record.Violation{{Promise: "p"}} }, "1 violation", "A promise was broken"},
	} {
		t.Run(c.name, func(t *testing.T) {
			run := sample()
			c.change(run)
			page := parse(t, mustWrite(t, run))
			if got := text(elements(page, "h1")[0]); got != c.word {
				t.Errorf("verdict %q, want %q", got, c.word)
			}
			wantTexts(t, page, c.reason)
		})
	}
}

// TestWrite_Hostile shows that no text of a record becomes a tag, a script or a link.
func TestWrite_Hostile(t *testing.T) {
	page := parse(t, mustWrite(t, hostile()))
	for _, n := range elements(page) {
		if n.Data == "script" && !strings.Contains(text(n), "querySelectorAll('.picture')") || n.Data == "img" {
			t.Errorf("a text became <%s>: %.80s", n.Data, text(n))
		}
		for _, a := range n.Attr {
			if strings.HasPrefix(a.Key, "on") || (a.Key == "href" || a.Key == "src") && strings.HasPrefix(a.Val, "javascript:") {
				t.Errorf("a text became the attribute %s=%q of <%s>", a.Key, a.Val, n.Data)
			}
		}
	}
	wantTexts(t, part(t, page, "checks"), "<script>alert(1)</script>")
	path, err := report.WriteSummary(t.TempDir(), []*record.Run{hostile()})
	if err != nil {
		t.Fatal(err)
	}
	if n := len(elements(parse(t, path), "script", "img")); n > 0 {
		t.Errorf("the summary has %d scripts and images", n)
	}
	markdown, err := os.ReadFile(filepath.Join(filepath.Dir(path), "summary.md"))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(markdown), "<script>") {
		t.Error("the Markdown has a script")
	}
}

// TestWrite_Alone shows that a page loads nothing, and links to nothing but files beside
// it and parts of itself.
func TestWrite_Alone(t *testing.T) {
	path := mustWrite(t, broken(t))
	page := parse(t, path)
	for _, n := range elements(page) {
		for _, a := range n.Attr {
			switch {
			case a.Key == "src" || n.Data == "script" && a.Key != "" || a.Key == "style" && strings.Contains(a.Val, "url("):
				t.Errorf("<%s %s=%q> loads something", n.Data, a.Key, a.Val)
			case a.Key != "href" || a.Val == "data:,":
			case strings.HasPrefix(a.Val, "#"):
				part(t, page, a.Val[1:])
			default:
				if _, err := os.Stat(filepath.Join(filepath.Dir(path), a.Val)); err != nil {
					t.Errorf("a link to %q: %v", a.Val, err)
				}
			}
		}
	}
	for _, style := range elements(page, "style") {
		if s := text(style); strings.Contains(s, "url(") || strings.Contains(s, "@import") {
			t.Error("the style sheet loads something")
		}
	}
}

// TestWrite_Long shows that a page of four hours with 1,680 faults is small, and that a
// single odd second of it can still be seen.
func TestWrite_Long(t *testing.T) {
	run := long(4)
	path := mustWrite(t, run)
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() > 1<<20 {
		t.Errorf("the page has %d bytes, want 1 MiB at most", info.Size())
	}
	page := parse(t, path)
	wantTexts(t, part(t, page, "unknown-desc"), "at most 77 in a second")
	wantTexts(t, part(t, page, "timeline"), "A column of these charts stands for 24 s")
	hovers := 0
	for _, n := range elements(part(t, page, "timeline"), "rect") {
		if n.Parent.Type == html.ElementNode && attribute(n.Parent, "class") == "over" {
			hovers++
		}
	}
	if hovers != 600 {
		t.Errorf("%d columns, want 600", hovers)
	}
	rows := table(t, part(t, page, "faults"))
	if got := rows[1][:3]; len(rows) != 15 || !slices.Equal(got, []string{"kill a follower", "120", "0"}) {
		t.Errorf("the table of kinds has %d rows, the first is %q", len(rows), got)
	}
	wantTexts(t, part(t, page, "faults"), "The 200 faults that were worst", "The other 1,480 are in run.json")
}

// TestWrite_Record shows that the record beside the page can be read back.
func TestWrite_Record(t *testing.T) {
	run := broken(t)
	got, err := record.Read(filepath.Join(filepath.Dir(mustWrite(t, run)), "run.json"))
	if err != nil {
		t.Fatal(err)
	}
	a, _ := json.Marshal(run)
	b, _ := json.Marshal(got)
	if string(a) != string(b) {
		t.Error("the record is not what was written")
	}
}

// TestWrite_Evidence shows where evidence may be, and that the page reports missing
// evidence.
func TestWrite_Evidence(t *testing.T) {
	dir := t.TempDir()
	run := sample()
	run.Violations = []record.Violation{{Promise: "a", Evidence: "there.log"}, {Promise: "b", Evidence: "gone.log"}, {Promise: "c", Evidence: "../up.log"}}
	for _, name := range []string{"there.log", "../up.log"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("seen "+strings.Repeat("x", 1<<20)+" at the end"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	path, err := report.Write(dir, run)
	if err != nil {
		t.Fatal(err)
	}
	wantTexts(t, part(t, parse(t, path), "violations"), "seen xxx", "bytes are left out here", "at the end",
		"Its evidence, gone.log, is missing.", "Its evidence, ../up.log, is missing.")
	for _, name := range []string{"../x", "a/b", "/x", "", ".", "..", "run.json", "report.html"} {
		run.Files = map[string][]byte{name: nil}
		if _, err := report.Write(t.TempDir(), run); err == nil {
			t.Errorf("evidence by the name %q is taken", name)
		}
	}
}

// TestWrite_Odd shows that impossible figures give an error or a page, and never a panic.
func TestWrite_Odd(t *testing.T) {
	run := sample()
	run.Seconds[3].P99 = math.Inf(1)
	if _, err := report.Write(t.TempDir(), run); err == nil {
		t.Error("an infinite latency can't be written as JSON, and gives no error")
	}
	odd := map[string]*record.Run{
		"OneSecond": {Length: 0.5, Seconds: []record.Second{{Acknowledged: 1, P50: 0.001, P99: 0.001}}},
		"Outside": {Length: 10, Faults: []record.Fault{{Name: "x", From: -5, To: 99, Served: 1e9, Done: true}, {Name: "y", From: 10, To: 10, Done: true}},
			Leaders: []record.Leader{{At: 99, Host: "n1", Term: 1}, {At: -3, Host: "n2", Term: 1}}},
		"ManyKinds":  {Length: 60, Faults: kinds(80)},
		"ManyWrongs": {Length: 60, Violations: make([]record.Violation, 900), Exits: make([]record.Exit, 900)},
		"Flapping":   {Length: 600, Leaders: flapping(6000)},
	}
	for name, run := range odd {
		t.Run(name, func(t *testing.T) {
			path := mustWrite(t, run)
			if info, err := os.Stat(path); err != nil || info.Size() > 1<<20 {
				t.Errorf("the page has %d bytes: %v", info.Size(), err)
			}
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(string(data), "NaN") || strings.Contains(string(data), "Inf") || strings.Contains(string(data), "ZgotmplZ") {
				t.Error("the page has a figure that is none")
			}
		})
	}
}

// kinds returns faults of n names.
func kinds(n int) []record.Fault {
	var all []record.Fault
	for i := range n {
		all = append(all, record.Fault{Name: fmt.Sprintf("kind %d", i), From: float64(i), To: float64(i) + 0.5, Done: true})
	}
	return all
}

// flapping returns n changes of the leader, ten in a second.
func flapping(n int) []record.Leader {
	var all []record.Leader
	for i := range n {
		all = append(all, record.Leader{At: float64(i) / 10, Host: []string{"n1", "", "n2"}[i%3], Term: uint64(i)})
	}
	return all
}

// TestWriteSummary_Values shows that runs are added up by fault, on the page and in
// Markdown.
func TestWriteSummary_Values(t *testing.T) {
	bad := broken(t)
	path, err := report.WriteSummary(t.TempDir(), []*record.Run{sample(), bad, sample()})
	if err != nil {
		t.Fatal(err)
	}
	page := parse(t, path)
	if got := text(elements(page, "h1")[0]); got != "2 violations" {
		t.Errorf("verdict %q, want 2 violations", got)
	}
	wantTexts(t, page, "A promise was broken in 1 of 3 runs of 6 min together.", "faults made 41 14 kinds, 1 not made")
	rows := table(t, part(t, page, "faults"))
	want := []string{"full disk", "2", "1", "0.22 s", "0.22 s", "0", "0.06 s", "0", "0"}
	if got := rows[9][:9]; !slices.Equal(got, want) {
		t.Errorf("row of a kind %q, want %q", got, want)
	}
	if rows := table(t, part(t, page, "runs")); len(rows) != 4 || rows[2][1] != "2 violations" || !strings.Contains(rows[2][9], bad.Command) {
		t.Errorf("rows of runs: %q", rows)
	}
	markdown, err := os.ReadFile(filepath.Join(filepath.Dir(path), "summary.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"**2 violations.**", "| " + strings.Join(want, " | ") + " | ", "| client c7 on n2 | 61 acknowledged writes"} {
		if !strings.Contains(string(markdown), want) {
			t.Errorf("no %q in the Markdown:\n%s", want, markdown)
		}
	}
}

// TestWriteSummary_Verdict shows that a summary of no runs does not pass.
func TestWriteSummary_Verdict(t *testing.T) {
	thin := sample()
	thin.Checks = nil
	for name, c := range map[string]struct {
		runs []*record.Run
		want string
	}{
		"None":   {nil, "Not covered"},
		"Passed": {[]*record.Run{sample(), sample()}, "Passed"},
		"Thin":   {[]*record.Run{sample(), thin}, "Not covered"},
	} {
		t.Run(name, func(t *testing.T) {
			path, err := report.WriteSummary(t.TempDir(), c.runs)
			if err != nil {
				t.Fatal(err)
			}
			if got := text(elements(parse(t, path), "h1")[0]); got != c.want {
				t.Errorf("verdict %q, want %q", got, c.want)
			}
		})
	}
}

// TestWriteSummary_Share shows that a fault's throughput is compared with that of
// seconds without any fault, and that seconds of two faults count for neither.
func TestWriteSummary_Share(t *testing.T) {
	run := &record.Run{Length: 20, Seconds: make([]record.Second, 20)}
	for i := range run.Seconds {
		run.Seconds[i].Acknowledged = 100
	}
	for i := 2; i < 5; i++ {
		run.Seconds[i].Acknowledged = 40
	}
	run.Seconds[10].Acknowledged = 7
	run.Faults = []record.Fault{
		{Name: "alone", From: 2, To: 5, Done: true},
		{Name: "one of two", From: 10, To: 11, Done: true},
		{Name: "the other", From: 10, To: 11, Done: true},
		{Name: "not made", From: 14, To: 16},
	}
	path, err := report.WriteSummary(t.TempDir(), []*record.Run{run, run})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, row := range table(t, part(t, parse(t, path), "faults"))[1:] {
		got = append(got, row[9])
	}
	if want := []string{"40 %", "–", "–", "–"}; !slices.Equal(got, want) {
		t.Errorf("shares %q, want %q", got, want)
	}
}
