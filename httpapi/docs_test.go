package httpapi_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// example is a command of a page, with its output.
type example struct{ command, output string }

// examplesOf returns the commands of a page: indented lines that begin with "$ ", each
// followed by its output.
func examplesOf(page string) (examples []example) {
	for line := range strings.Lines(page) {
		text, indented := strings.CutPrefix(line, "    ")
		command, isCommand := strings.CutPrefix(text, "$ ")
		switch {
		case indented && isCommand:
			examples = append(examples, example{command: strings.TrimSpace(command)})
		case indented && len(examples) > 0:
			examples[len(examples)-1].output += text
		}
	}
	return examples
}

// TestDocs_Examples runs every command of docs/http-api.md.
func TestDocs_Examples(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("there is no curl")
	}
	page, err := os.ReadFile("../docs/http-api.md")
	if err != nil {
		t.Fatal(err)
	}
	a := mustServe(t, nil)
	a.node.mu.Lock()           // the server runs
	a.node.revision = 1        // as that of an empty store
	a.node.clock = newYear - 1 // and a part of a millisecond
	a.node.mu.Unlock()
	examples := examplesOf(string(page))
	if len(examples) < 30 {
		t.Fatalf("the page has %d commands", len(examples))
	}
	for _, e := range examples {
		command := strings.ReplaceAll(strings.ReplaceAll(e.command, "localhost:8001", a.addr), "curl ", "curl -sS --max-time 20 ")
		out, err := exec.Command("sh", "-c", command).CombinedOutput()
		if got := strings.ReplaceAll(string(out), "\r", ""); err != nil || got != e.output {
			t.Errorf("%s\ngot  %s%v\nwant %s", e.command, got, err, e.output)
		}
	}
}

// TestDocs_RoutesAndParameters checks that the page names all routes and parameters.
func TestDocs_RoutesAndParameters(t *testing.T) {
	page, err := os.ReadFile("../docs/http-api.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{
		"/kv/", "/txn", "/batch", "/leases", "/leases/keepalive", "/leases/{lease}", "/leases/{lease}/keepalive", "/watch", "/status", "/livez", "/readyz", "/metrics", "/openapi.json",
		"/admin/join", "/admin/leave", "/admin/transfer", "/admin/snapshot",
		"consistency", "max_stale", "min_revision", "revision", "prefix", "start", "end", "limit", "cursor", "delimiter", "sort",
		"reverse", "keys_only", "count_only", "delta", "from_revision", "snapshot", "prev", "ops", "progress", "wait", "newer_than", "ttl", "lease", "keys=true", "after", "op=incr", "op=append", "op=getset", "op=getdel", "op=touch", "op=persist", "all=true",
	} {
		if !strings.Contains(string(page), name) {
			t.Errorf("the page does not name %s", name)
		}
	}
}
