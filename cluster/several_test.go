package cluster_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/kvorum/kvorum/cluster"
	"github.com/kvorum/kvorum/cluster/internal/clustertest"
	"github.com/kvorum/kvorum/fsm"
	"github.com/kvorum/kvorum/kv"
)

// two returns a request that needs command version 2.
func Two(a, b string) kv.Request {
	return kv.Request{Then: []kv.Op{{Kind: kv.OpPut, Key: a}, {Kind: kv.OpPut, Key: b}}}
}

// TestDo_SeveralOperations does a request with several operations through every node. It
// is done as a whole or not at all, at one revision.
func TestDo_SeveralOperations(t *testing.T) {
	t.Parallel()
	nodes := clustertest.Open(t, 3, nil)
	clustertest.Leader(t, nodes)
	for i, n := range nodes {
		request := clustertest.Two("a", "b")
		if i > 0 {
			request.If = []kv.Compare{kv.Present("a"), kv.Present("b"), kv.Absent("c")}
		}
		var response kv.Response
		clustertest.Eventually(t, "all members are known to understand it", func() (err error) {
			response, err = n.Do(t.Context(), request)
			return err
		})
		if !response.Succeeded || len(response.Results) != 2 || response.Results[0].ModRevision != response.Revision || response.Results[1].ModRevision != response.Revision {
			t.Errorf("at %s: got %+v", n.Config.Name, response)
		}
		request.If = []kv.Compare{kv.Present("a"), kv.Present("c")}
		failed, err := n.Do(t.Context(), request)
		if err != nil || failed.Succeeded || failed.Revision != response.Revision {
			t.Errorf("with a compare that does not hold, at %s: got %+v, %v", n.Config.Name, failed, err)
		}
	}
}

// TestDo_HeldBackByAMember shows that a request that a member does not understand is
// refused on every node with that member's name, that puts continue, and that the leader
// writes nothing of the kind by itself.
func TestDo_HeldBackByAMember(t *testing.T) {
	t.Parallel()
	made := 0
	nodes := clustertest.Open(t, 3, func(c *cluster.Config) {
		c.CheckpointInterval = 10 * time.Millisecond // checkpoints are due all the time
		if made == 1 {
			c.MaxCommandVersion = 1
		}
		made++
	})
	leader, old := clustertest.Leader(t, nodes), nodes[1].Config.Name
	for _, n := range nodes {
		clustertest.Eventually(t, "a request is refused because of a member", func() error {
			_, err := n.Do(t.Context(), clustertest.Two("a", "b"))
			if !errors.Is(err, kv.ErrUnsupported) || !strings.Contains(err.Error(), old+" announces 1") {
				return errors.Join(errors.New("not refused as it should be"), err)
			}
			return nil
		})
		if _, err := n.Do(t.Context(), kv.Put("k", nil)); err != nil {
			t.Errorf("put at %s: %v", n.Config.Name, err)
		}
	}
	if s := leader.State(); len(s.Checkpoints()) > 0 || s.WrittenSince(0) >= fsm.Version {
		t.Errorf("got %d checkpoints, command version %d", len(s.Checkpoints()), s.WrittenSince(0))
	}
}
