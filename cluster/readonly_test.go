package cluster_test

import (
	"fmt"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/cluster"
	"github.com/kvorum/kvorum/cluster/internal/clustertest"
	"github.com/kvorum/kvorum/kv"
)

// TestDo_ReadsWithoutLog shows that a request that only reads sees the newest write on each
// node, adds nothing to the log, and needs no member to understand it.
func TestDo_ReadsWithoutLog(t *testing.T) {
	nodes := clustertest.Open(t, 3, func(c *cluster.Config) { c.MaxCommandVersion = 1 })
	leader := clustertest.Leader(t, nodes)
	for i, n := range nodes {
		want := fmt.Sprint("value ", i)
		clustertest.MustPut(t, nodes[(i+1)%3], "k", want)
		before := leader.Raft().LastIndex()
		got, err := n.Do(t.Context(), kv.Request{
			If:   []kv.Compare{{Span: kv.All(), Target: kv.TargetValue, Relation: kv.Equal, Value: []byte(want)}},
			Then: []kv.Op{{Kind: kv.OpRange, Span: kv.One("k")}},
		})
		if err != nil || !got.Succeeded || len(got.Results) != 1 || string(got.Results[0].Items[0].Value) != want {
			t.Errorf("%s: got %+v, %v", n.Config.Name, got, err)
		}
		if got.Revision != leader.State().Revision() {
			t.Errorf("%s: got revision %d", n.Config.Name, got.Revision)
		}
		if after := leader.Raft().LastIndex(); after != before {
			t.Errorf("%s: the log has %d more entries", n.Config.Name, after-before)
		}
	}
}

// TestDo_AnswersOnLeaderAlone shows that a node makes answers only to the entries that it has
// put into the log itself.
func TestDo_AnswersOnLeaderAlone(t *testing.T) {
	n := clustertest.Open(t, 1, nil)[0]
	clustertest.Leader(t, []*clustertest.Node{n})
	clustertest.MustPut(t, n, "k", "before")
	getset := kv.Request{Then: []kv.Op{{Kind: kv.OpPut, Key: "k", Value: []byte("after"), WantPrev: true}}}
	got, err := n.Do(t.Context(), getset)
	if err != nil || string(got.Results[0].Prev.Value) != "before" {
		t.Fatalf("got %+v, %v", got, err)
	}
	read := &raft.Log{Index: n.State().AppliedIndex() + 1000, Data: clustertest.Entry(clustertest.Encode(getset))}
	if answer, ok := n.State().Apply(read).([]byte); !ok || len(answer) != 0 {
		t.Errorf("the node has an answer of %d bytes to an entry of another node", len(answer))
	}
}
