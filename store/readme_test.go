package store_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestReadme_Embedded builds and runs the program that the README shows to those
// who embed the store.
func TestReadme_Embedded(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a program")
	}
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(readme), "\n## Embedded\n")
	section, _, ended := strings.Cut(section, "\n## ")
	_, program, begun := strings.Cut(section, "\n```go\n")
	program, _, closed := strings.Cut(program, "\n```\n")
	if !found || !ended || !begun || !closed {
		t.Fatal("the README has no section Embedded with a program")
	}
	dir := t.TempDir()
	source, binary := filepath.Join(dir, "main.go"), filepath.Join(dir, "program")
	if err := os.WriteFile(source, []byte(program+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("go", "build", "-o", binary, source).CombinedOutput(); err != nil { // in this module
		t.Fatalf("go build: %v\n%s", err, out)
	}
	for range 2 { // with a new data directory, and with an old one
		run := exec.Command(binary)
		run.Dir = dir
		if out, err := run.CombinedOutput(); err != nil || string(out) != "alice <nil>\n" {
			t.Errorf("the program: %v, it printed %q", err, out)
		}
	}
}
