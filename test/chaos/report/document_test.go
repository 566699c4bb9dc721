package report_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html"
)

// parse returns the document that a file holds, as browsers read it.
func parse(t testing.TB, path string) *html.Node {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	root, err := html.Parse(file)
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// elements returns all elements of some names, and all where none is given.
func elements(root *html.Node, names ...string) []*html.Node {
	var found []*html.Node
	for n := range root.Descendants() {
		if n.Type == html.ElementNode && (len(names) == 0 || slices.Contains(names, n.Data)) {
			found = append(found, n)
		}
	}
	return found
}

// attribute returns an attribute of an element, and "" if it has none.
func attribute(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

// part returns the element with an id.
func part(t testing.TB, root *html.Node, id string) *html.Node {
	t.Helper()
	for _, n := range elements(root) {
		if attribute(n, "id") == id {
			return n
		}
	}
	t.Fatalf("nothing has the id %q", id)
	return nil
}

// text returns the text of an element with single spaces.
func text(root *html.Node) string {
	var all strings.Builder
	for n := range root.Descendants() {
		if n.Type == html.TextNode {
			all.WriteString(n.Data + " ")
		}
	}
	return strings.Join(strings.Fields(all.String()), " ")
}

// table returns the texts of the cells of the first table of an element.
func table(t testing.TB, root *html.Node) [][]string {
	t.Helper()
	tables := elements(root, "table")
	if len(tables) == 0 {
		t.Fatal("there is no table")
	}
	var rows [][]string
	for _, tr := range elements(tables[0], "tr") {
		var row []string
		for _, cell := range elements(tr, "th", "td") {
			row = append(row, text(cell))
		}
		rows = append(rows, row)
	}
	return rows
}

// wantTexts fails unless a part of a page has all the texts.
func wantTexts(t testing.TB, root *html.Node, wants ...string) {
	t.Helper()
	got := text(root)
	for _, want := range wants {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in: %.600s", want, got)
		}
	}
}
