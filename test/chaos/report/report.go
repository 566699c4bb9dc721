package report

import (
	"bytes"
	_ "embed" // for templates and style
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/kvorum/kvorum/test/chaos/record"
)

// The names of the files that this package writes.
const (
	pageFile     = "report.html"
	recordFile   = "run.json"
	summaryFile  = "summary.html"
	markdownFile = "summary.md"
)

//go:embed style.css
var styleText string

// style is the style sheet of both pages.
var style = template.CSS(styleText)

//go:embed page.html.tmpl
var pageText string

// pageTemplate makes a page of a *page.
var pageTemplate = parse("page", pageText)

//go:embed parts.html.tmpl
var partsText string

// parse returns a template with the parts that both pages have.
func parse(name, text string) *template.Template {
	t := template.New(name).Funcs(template.FuncMap{"count": count})
	return template.Must(template.Must(t.Parse(partsText)).Parse(text))
}

// Write writes the page of a run, its record and its evidence into a directory, which it
// makes if there is none, and returns the path of the page. The evidence is run.Files and
// the pictures of run.Keys. A file that a violation names and that Files lacks may be in
// the directory already. The page says which evidence is missing.
//
// The name of a file must be free of directories and of this package's own names. A
// figure that JSON can't express, such as an infinite latency, is an error.
func Write(dir string, run *record.Run) (path string, err error) {
	files, err := evidenceFiles(run)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("directory of the report: %w", err)
	}
	evidence, err := collect(dir, run, files)
	if err != nil {
		return "", err
	}
	files[recordFile], err = json.MarshalIndent(run, "", "\t")
	if err != nil {
		return "", fmt.Errorf("record of the run: %w", err)
	}
	files[pageFile], err = render(pageTemplate, newPage(run, evidence))
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, pageFile), writeAll(dir, files)
}

// evidenceFiles returns the evidence that a run brings with it, by file name.
func evidenceFiles(run *record.Run) (map[string][]byte, error) {
	files := map[string][]byte{}
	for name, data := range run.Files {
		if !plain(name) {
			return nil, fmt.Errorf("evidence %q: not the name of a file beside the page", name)
		}
		files[name] = data
	}
	for i, k := range run.Keys {
		if k.Picture != "" {
			files[pictureFile(i)] = []byte(k.Picture)
		}
	}
	return files, nil
}

// plain reports whether a name is allowed for a file in the directory of a page.
func plain(name string) bool {
	own := []string{pageFile, recordFile, summaryFile, markdownFile}
	return filepath.IsLocal(name) && filepath.Base(name) == name && name != "." && !slices.Contains(own, name)
}

// collect returns the given files and those that violations name and the directory has.
func collect(dir string, run *record.Run, files map[string][]byte) (map[string][]byte, error) {
	all := maps.Clone(files)
	for _, v := range run.Violations {
		if _, known := all[v.Evidence]; known || !plain(v.Evidence) {
			continue
		}
		data, err := os.ReadFile(filepath.Join(dir, v.Evidence))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("evidence: %w", err)
		}
		all[v.Evidence] = data
	}
	return all, nil
}

// render returns the output of a template.
func render(t *template.Template, data any) ([]byte, error) {
	var out bytes.Buffer
	if err := t.Execute(&out, data); err != nil {
		return nil, fmt.Errorf("report: %w", err)
	}
	return out.Bytes(), nil
}

// writeAll writes files into a directory.
func writeAll(dir string, files map[string][]byte) error {
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := os.WriteFile(filepath.Join(dir, name), files[name], 0o644); err != nil {
			return fmt.Errorf("report: %w", err)
		}
	}
	return nil
}
