package test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestDocs_ConsistencyNamesTests shows that each test that docs/consistency.md names exists.
func TestDocs_ConsistencyNamesTests(t *testing.T) {
	page, err := os.ReadFile("../docs/consistency.md")
	if err != nil {
		t.Fatal(err)
	}
	links := regexp.MustCompile(`\[(Test\w+)\]\(([^)]*)\)`).FindAllSubmatch(page, -1)
	if len(links) < 30 {
		t.Errorf("the page names %d tests", len(links))
	}
	for _, link := range links {
		name, file := string(link[1]), filepath.Join("../docs", string(link[2]))
		source, err := os.ReadFile(file)
		if err != nil || !strings.Contains(string(source), "\nfunc "+name+"(t *testing.T)") {
			t.Errorf("%s is not in %s: %v", name, file, err)
		}
	}
}
