package test

import (
	"context"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kvorum/kvorum/kv"
)

// TestReadPath_NoForbiddenCalls shows that a replica and its node do not call three functions
// that look useful for a read and are wrong. VerifyLeader counts answers that were sent
// before it was called. Raft's AppliedIndex counts entries that the state machine has not
// applied yet. A barrier is an entry that no state machine sees, so a wait for the commit
// index would never end.
func TestReadPath_NoForbiddenCalls(t *testing.T) {
	files, err := filepath.Glob("../cluster/replica/*.go")
	if err != nil || len(files) == 0 {
		t.Fatalf("no source to look at: %v", err)
	}
	nodes, err := filepath.Glob("../cluster/*.go")
	if err != nil || len(nodes) == 0 {
		t.Fatalf("no source to look at: %v", err)
	}
	files = append(files, nodes...)
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		positions := token.NewFileSet()
		tree, err := parser.ParseFile(positions, file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(tree, func(n ast.Node) bool {
			call, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			of, _ := call.X.(*ast.SelectorExpr)
			ofRaft := of != nil && of.Sel.Name == "raft"
			switch name := call.Sel.Name; {
			case name == "VerifyLeader", name == "Barrier", name == "AppliedIndex" && ofRaft:
				t.Errorf("%s uses %s", positions.Position(n.Pos()), name)
			}
			return true
		})
	}
}

// TestNode_ReadOptions reads at every level, on every node, and waits for a future
// revision.
func TestNode_ReadOptions(t *testing.T) {
	nodes := openNodes(t, 3)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	put := func(value string) uint64 {
		t.Helper()
		result, err := nodes[0].get().Do(ctx, kv.Put("k", []byte(value)))
		if err != nil {
			t.Fatal(err)
		}
		return result.Revision
	}
	for i, n := range nodes {
		for _, level := range []kv.Consistency{"", kv.Linearizable, kv.LeaderLocal} {
			value := string(level) + n.cfg.Name
			revision := put(value)
			got, err := n.get().Get(ctx, "k", kv.ReadOptions{Level: level})
			if err != nil || string(got.Item.Value) != value || got.Revision < revision {
				t.Errorf("node %d, level %q: got %q at %d, %v, want %q at %d", i, level, got.Item.Value, got.Revision, err, value, revision)
			}
		}
		value := "stale" + n.cfg.Name
		got, err := n.get().Get(ctx, "k", kv.ReadOptions{Level: kv.Stale, MinRevision: put(value)})
		if err != nil || string(got.Item.Value) != value {
			t.Errorf("node %d, stale with a revision: got %q, %v, want %q", i, got.Item.Value, err, value)
		}
	}
	var invalid *kv.ValidationError
	if _, err := nodes[0].get().Get(ctx, "k", kv.ReadOptions{Level: "strong"}); !errors.As(err, &invalid) {
		t.Errorf("unknown level: got %v", err)
	}

	next := put("now") + 1
	brief, cancelBrief := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancelBrief()
	if _, err := nodes[1].get().Get(brief, "k", kv.ReadOptions{Level: kv.Stale, MinRevision: next}); !errors.Is(err, kv.ErrBehind) {
		t.Errorf("a revision that does not come: got %v, want ErrBehind", err)
	}
	answer := make(chan error, 1)
	go func() {
		got, err := nodes[2].get().Get(ctx, "k", kv.ReadOptions{MinRevision: next})
		if err == nil && string(got.Item.Value) != "later" {
			err = errors.New("got " + string(got.Item.Value))
		}
		answer <- err
	}()
	put("later")
	if err := <-answer; err != nil {
		t.Errorf("a revision that comes: %v", err)
	}
}
