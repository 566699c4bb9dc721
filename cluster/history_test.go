package cluster_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/kvorum/kvorum/cluster"
	"github.com/kvorum/kvorum/cluster/internal/clustertest"
	"github.com/kvorum/kvorum/fsm"
	"github.com/kvorum/kvorum/kv"
)

// withoutHistory makes a node of a build that keeps no history.
func withoutHistory(cfg *cluster.Config) { cfg.Seams.CommandVersion = 2 }

// TestHistory_FromTheFirstWrite shows that an empty cluster is at revision 1, that its first
// write takes revision 2, and that each node reads past revisions.
func TestHistory_FromTheFirstWrite(t *testing.T) {
	nodes := clustertest.Open(t, 3, nil)
	leader := clustertest.Leader(t, nodes)
	if got, err := leader.Get(t.Context(), "k", kv.ReadOptions{}); err != nil || got.Revision != 1 {
		t.Fatalf("empty: got %+v, %v, want revision 1", got, err)
	}
	for i, value := range []string{"a", "b", "c"} {
		if got, err := nodes[i].Do(t.Context(), kv.Put("k", []byte(value))); err != nil || got.Revision != uint64(i+2) {
			t.Fatalf("put: got %+v, %v, want revision %d", got, err, i+2)
		}
	}
	for _, n := range nodes {
		for _, level := range []kv.Consistency{kv.Linearizable, kv.LeaderLocal, kv.Stale} {
			for revision, want := range map[uint64]string{2: "a", 3: "b", 4: "c"} {
				options := kv.ReadOptions{Level: level, Revision: revision}
				got, err := n.Get(t.Context(), "k", options)
				if err != nil || !got.Found || string(got.Item.Value) != want || got.Revision != revision {
					t.Errorf("%s at %d: got %+v, %v, want %s", level, revision, got, err, want)
				}
				view, err := n.View(t.Context(), options)
				if err != nil {
					t.Fatal(err)
				}
				if items := slices.Collect(view.Ascend(kv.All())); len(items) != 1 || string(items[0].Value) != want || view.Revision() != revision {
					t.Errorf("%s at %d: got a view of revision %d with %v", level, revision, view.Revision(), items)
				}
				_ = view.Close()
			}
		}
		if _, err := n.Get(t.Context(), "k", kv.ReadOptions{Revision: 5}); !errors.Is(err, kv.ErrFuture) {
			t.Errorf("a future revision: got %v", err)
		}
	}
	if err := leader.Raft().Apply(clustertest.Entry(fsm.CompactRequest(3)), time.Second).Error(); err != nil {
		t.Fatal(err)
	}
	for _, n := range nodes {
		_, err := n.Get(t.Context(), "k", kv.ReadOptions{Revision: 2})
		if compacted := (*kv.CompactedError)(nil); !errors.As(err, &compacted) || *compacted != (kv.CompactedError{Revision: 2, CompactRevision: 3}) {
			t.Errorf("a compacted revision: got %v", err)
		}
		if _, err := n.View(t.Context(), kv.ReadOptions{Revision: 2}); !errors.Is(err, kv.ErrCompacted) {
			t.Errorf("a view of a compacted revision: got %v", err)
		}
	}
}

// TestDo_Refused shows that the refusal of a request by the state has its class, on each
// node, and that nothing was done.
func TestDo_Refused(t *testing.T) {
	nodes := clustertest.Open(t, 3, nil)
	if _, err := nodes[0].Do(t.Context(), kv.Put("k", []byte("text"))); err != nil {
		t.Fatal(err)
	}
	add := kv.Request{Then: []kv.Op{{Kind: kv.OpPut, Key: "l"}, {Kind: kv.OpAdd, Key: "k", Delta: 1}}}
	for _, n := range nodes {
		if _, err := n.Do(t.Context(), add); !errors.Is(err, kv.ErrNotNumber) {
			t.Errorf("got %v, want ErrNotNumber", err)
		}
		if got, err := n.Get(t.Context(), "l", kv.ReadOptions{}); err != nil || got.Found || got.Revision != 2 {
			t.Errorf("after it: got %+v, %v", got, err)
		}
	}
}
