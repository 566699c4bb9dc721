package nemesis

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// root is the path of the repository's root, and rows is the number of rows of the table.
const (
	root = "../../.."
	rows = 41
)

// row is one row of the table of faults in docs/reliability.md.
type row struct {
	number int
	chaos  []string // names of faults
	tests  []string
	text   string // of its last column
}

var (
	quoted   = regexp.MustCompile("`([^`]+)`")
	testName = regexp.MustCompile(`\b(?:Test|Fuzz)[A-Z]\w*`)
	funcName = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
)

// readTable returns the rows of the table, in order.
func readTable(t *testing.T) (table []row) {
	t.Helper()
	page, err := os.ReadFile(filepath.Join(root, "docs", "reliability.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(page), "\n## The 41 faults\n")
	if !ok {
		t.Fatal("docs/reliability.md has no section of the 41 faults")
	}
	section, _, _ = strings.Cut(section, "\n## ")
	for line := range strings.Lines(section) {
		cells := strings.Split(strings.TrimSpace(line), "|")
		if len(cells) != 6 {
			continue
		}
		number, err := strconv.Atoi(strings.TrimSpace(cells[1]))
		if err != nil {
			continue // the head
		}
		r := row{number: number, tests: testName.FindAllString(cells[4], -1), text: cells[4]}
		for _, name := range quoted.FindAllStringSubmatch(cells[3], -1) {
			r.chaos = append(r.chaos, name[1])
		}
		table = append(table, r)
	}
	return table
}

// testsThere returns the names of all tests of the repository.
func testsThere(t *testing.T) map[string]bool {
	t.Helper()
	there := map[string]bool{}
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		source, err := os.ReadFile(path)
		for _, name := range funcName.FindAllStringSubmatch(string(source), -1) {
			there[name[1]] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return there
}

// TestTable shows that the table of faults has all rows, that all faults and tests that it
// names exist, that each fault is in the rows that it covers, and that a row without a
// fault or test says so.
func TestTable(t *testing.T) {
	table, there := readTable(t), testsThere(t)
	if len(table) != rows {
		t.Fatalf("%d rows, want %d", len(table), rows)
	}
	for i, r := range table {
		if r.number != i+1 {
			t.Errorf("row %d has number %d", i+1, r.number)
		}
		if len(r.chaos)+len(r.tests) == 0 && !strings.Contains(r.text, "Not covered:") {
			t.Errorf("row %d names nothing that covers it, and does not say so", r.number)
		}
		for _, name := range r.chaos {
			if f := Find(name); f == nil || !slices.Contains(f.Rows, r.number) {
				t.Errorf("row %d: there is no fault %q that covers it", r.number, name)
			}
		}
		for _, name := range r.tests {
			if !there[name] {
				t.Errorf("row %d: there is no test %s", r.number, name)
			}
		}
	}
	for _, f := range All() {
		for _, number := range f.Rows {
			if number < 1 || number > rows || !slices.Contains(table[number-1].chaos, f.Name) {
				t.Errorf("row %d does not name the fault %q", number, f.Name)
			}
		}
	}
}
