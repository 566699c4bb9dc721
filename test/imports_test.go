package test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/kvorum/kvorum/"

// bigFive are the libraries that only some packages may import.
var bigFive = []string{
	"github.com/hashicorp/raft",
	"github.com/hashicorp/raft-boltdb",
	"github.com/hashicorp/memberlist",
	"github.com/gorilla/mux",
	"github.com/spf13/cobra",
}

// allowed lists, for each package, which of ours and of the big five it may
// import ("ARCHITECTURE.md, Packages"). A package below another one that has no line of
// its own may import what its parent may, and its parent.
var allowed = map[string][]string{
	"kv":                  {},
	"wal":                 {},
	"store":               {"wal", "internal/access", "internal/dirlock", "internal/omap"},
	"internal/api":        {"kv"},
	"internal/dirlock":    {},
	"internal/entry":      {"github.com/hashicorp/raft"},
	"internal/loglimit":   {},
	"internal/machine":    {},
	"internal/nodeid":     {"wal", "internal/sealed", "github.com/hashicorp/raft"},
	"internal/access":     {},
	"internal/omap":       {},
	"internal/sealed":     {"wal"},
	"internal/strictjson": {},
	"internal/wire":       {},
	"internal/testkit":    {},
	"fsm/mvcc":            {"kv", "internal/access"},
	"fsm/watch":           {"kv", "fsm/mvcc"},
	"fsm":                 {"kv", "fsm/mvcc", "fsm/watch", "internal/wire", "github.com/hashicorp/raft"},
	"transport":           {"internal/entry", "internal/loglimit", "github.com/hashicorp/raft"},
	"cluster/discovery":   {"kv", "internal/loglimit", "internal/sealed", "github.com/hashicorp/memberlist"},
	"cluster/clock":       {},
	"cluster/lessor":      {"kv"},
	"cluster/leadership":  {"kv", "cluster/clock", "internal/nodeid", "github.com/hashicorp/raft"},
	"cluster/propose":     {"cluster/leadership", "kv", "internal/wire"},
	"cluster/raftstore":   {"wal", "internal/entry", "internal/sealed", "github.com/hashicorp/raft", "github.com/hashicorp/raft-boltdb"},
	"cluster/recovery": {
		"cluster/raftstore", "fsm", "wal", "internal/dirlock", "internal/nodeid", "internal/sealed", "github.com/hashicorp/raft",
	},
	"cluster/raftlog": {"internal/loglimit"},
	"cluster/replica": {
		"kv", "cluster/clock", "cluster/leadership", "cluster/lessor", "cluster/propose", "cluster/raftlog", "cluster/raftstore", "cluster/recovery", "cluster/room", "wal", "transport",
		"internal/loglimit", "internal/nodeid", "internal/wire", "github.com/hashicorp/raft",
	},
	"cluster/room": {"kv", "wal", "internal/nodeid", "internal/wire", "github.com/hashicorp/raft"},
	"cluster": {
		"kv", "cluster/discovery", "cluster/leadership", "cluster/propose", "cluster/raftstore", "cluster/recovery", "cluster/replica", "cluster/room", "fsm",
		"wal", "transport", "internal/dirlock", "internal/loglimit", "internal/nodeid", "internal/sealed", "internal/wire",
		"github.com/hashicorp/raft",
	},
	"cluster/internal/clustertest": {
		"kv", "cluster", "cluster/raftstore", "cluster/replica", "fsm", "wal", "transport", "internal/testkit", "internal/wire", "github.com/hashicorp/raft",
	},
	"httpapi": {"kv", "internal/api", "internal/loglimit", "internal/strictjson", "github.com/gorilla/mux"},
	"client":  {"kv", "internal/api"},
}

// unbounded may import everything.
var unbounded = []string{"cmd", "test"}

// goPackage is what `go list -json` says of a package.
type goPackage struct {
	ImportPath string
	Imports    []string
}

// TestImports fails on an import that the architecture does not allow.
func TestImports(t *testing.T) {
	seen := map[string]bool{}
	for _, p := range listPackages(t) {
		name := strings.TrimPrefix(p.ImportPath, module)
		if root, _, _ := strings.Cut(name, "/"); slices.Contains(unbounded, root) {
			continue
		}
		owner := ruleOf(name)
		if owner == "" {
			t.Errorf("package %s is not in the table of packages", name)
			continue
		}
		seen[owner] = true
		for _, imported := range p.Imports {
			if !mayImport(owner, imported) {
				t.Errorf("package %s may not import %s", name, imported)
			}
		}
	}
	for owner := range allowed {
		if !seen[owner] {
			t.Errorf("package %s is in the table and does not exist", owner)
		}
	}
}

func listPackages(t *testing.T) []goPackage {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", module+"...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var packages []goPackage
	dec := json.NewDecoder(strings.NewReader(string(out)))
	for {
		var p goPackage
		err := dec.Decode(&p)
		if errors.Is(err, io.EOF) {
			return packages
		}
		if err != nil {
			t.Fatalf("go list: %v", err)
		}
		packages = append(packages, p)
	}
}

// ruleOf returns the package of the table that is name or above it, "" if there is none; of
// several the one with the longest name.
func ruleOf(name string) string {
	longest := ""
	for owner := range allowed {
		if (name == owner || strings.HasPrefix(name, owner+"/")) && len(owner) > len(longest) {
			longest = owner
		}
	}
	return longest
}

// TestRuleOf shows that a package with a line of its own does not inherit its parent's.
func TestRuleOf(t *testing.T) {
	for name, want := range map[string]string{
		"cluster": "cluster", "cluster/clusterprom": "cluster", "cluster/raftstore": "cluster/raftstore",
		"cluster/raftstore/sub": "cluster/raftstore", "clusters": "", "internal": "",
	} {
		if got := ruleOf(name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	for _, owner := range []string{"cluster/raftlog", "cluster/raftstore", "cluster/discovery", "cluster/room"} {
		for _, forbidden := range []string{"cluster", "fsm", "transport", "store"} {
			if mayImport(owner, module+forbidden) {
				t.Errorf("%s may import %s", owner, forbidden)
			}
		}
	}
	for owner, forbidden := range map[string]string{
		"cluster/recovery": module + "cluster", "cluster/propose": module + "fsm", "cluster/leadership": module + "cluster/propose",
		"cluster/replica": module + "fsm",
	} {
		if mayImport(owner, forbidden) {
			t.Errorf("%s may import %s", owner, forbidden)
		}
	}
	if mayImport("cluster/propose", "github.com/hashicorp/raft") {
		t.Error("cluster/propose may import raft")
	}
}

func mayImport(owner, imported string) bool {
	if ours, ok := strings.CutPrefix(imported, module); ok {
		target := ruleOf(ours)
		return target == owner || slices.Contains(allowed[owner], target)
	}
	for _, big := range bigFive {
		if imported == big || strings.HasPrefix(imported, big+"/") {
			return slices.Contains(allowed[owner], big)
		}
	}
	return true
}
