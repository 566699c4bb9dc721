package test

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kvorum/kvorum/cluster"
	"github.com/kvorum/kvorum/internal/testkit"
	"github.com/kvorum/kvorum/kv"
)

// twoKeys is a request that command version 1 does not have.
func twoKeys(value string) kv.Request {
	return kv.Request{Then: []kv.Op{
		{Kind: kv.OpPut, Key: "one", Value: []byte(value)}, {Kind: kv.OpPut, Key: "two", Value: []byte(value)},
	}}
}

// expectRefused checks that each node refuses a newer request because of a member, and
// accepts one that all understand.
func expectRefused(t *testing.T, nodes []*inproc, member string) {
	t.Helper()
	for _, n := range nodes {
		_, err := n.get().Do(t.Context(), twoKeys("never"))
		if class := kv.Classify(err); class != kv.ErrUnsupported || !strings.Contains(err.Error(), member+" announces 1") {
			t.Errorf("%s: got %v, want a kv.ErrUnsupported that names %s", n.cfg.Name, err, member)
		}
		mustDo(t, n, kv.Put("one", []byte("by "+n.cfg.Name)))
	}
}

// TestVersions_OneMemberHoldsBack shows that while one of three members announces less,
// every node refuses a newer request and names that member; all other requests are done.
// Once that member announces its whole build again, the newer request is done too, as a
// whole.
func TestVersions_OneMemberHoldsBack(t *testing.T) {
	nodes := openNodesWith(t, 3, func(c *cluster.Config) {
		if c.Name == "n2" {
			c.MaxCommandVersion = 1
		}
	})
	expectRefused(t, nodes, "n2")
	expectVersions(t, nodes[0], "n1 4", "n2 1", "n3 4")
	nodes[1].close(t)
	expectRefused(t, []*inproc{nodes[0], nodes[2]}, "n2") // it counts while it is down
	nodes[1].cfg.MaxCommandVersion = 0
	nodes[1].open(t)
	for i, n := range nodes {
		value := fmt.Sprint("value ", i)
		testkit.Eventually(t, 30*time.Second, n.cfg.Name+" does a newer request", func() error {
			_, err := n.get().Do(t.Context(), twoKeys(value))
			return err
		})
		for _, key := range []string{"one", "two"} {
			if got, err := n.get().Get(t.Context(), key, kv.ReadOptions{}); err != nil || string(got.Item.Value) != value {
				t.Errorf("%s: %s: got %+v, %v, want %q", n.cfg.Name, key, got, err, value)
			}
		}
	}
	nodes[0].close(t)
	nodes[0].cfg.MaxCommandVersion = 1
	nodes[0].open(t)
	testkit.Eventually(t, 30*time.Second, "n1 is ready", nodes[0].get().Ready)
	testkit.Eventually(t, 30*time.Second, "the leader knows that n1 has come back with less", func() error {
		if _, err := nodes[1].get().Do(t.Context(), twoKeys("last")); !errors.Is(err, kv.ErrUnsupported) {
			return fmt.Errorf("got %v, want a kv.ErrUnsupported", err)
		}
		return nil
	})
	expectRefused(t, nodes, "n1")
}

// expectVersions waits until a node knows the members' versions: gossip tells followers.
func expectVersions(t *testing.T, n *inproc, want ...string) {
	t.Helper()
	testkit.Eventually(t, 30*time.Second, n.cfg.Name+" knows the members' versions", func() error {
		var got []string
		for _, m := range n.get().Status().Members {
			got = append(got, fmt.Sprint(m.ID, " ", m.CommandVersion))
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			return fmt.Errorf("got %v, want %v", got, want)
		}
		return nil
	})
}

// TestVersions_OlderJoinerIsRefused shows that a node that announces less than the highest
// written version is not added, by command or by gossip, and changes nothing. It is added
// once all members have announced less and have taken snapshots.
func TestVersions_OlderJoinerIsRefused(t *testing.T) {
	var log testkit.Log
	nodes := openNodesWith(t, 3, func(c *cluster.Config) {
		c.Logger, c.MaxCommandVersion = slog.New(slog.NewTextHandler(&log, nil)), 2
	})
	testkit.Eventually(t, 30*time.Second, "a newer request is done", func() error {
		_, err := nodes[0].get().Do(t.Context(), twoKeys("value"))
		return err
	})
	joiner := newGoldenNode("n4", loopback())
	joiner.cfg.DataDir, joiner.cfg.MaxCommandVersion = filepath.Join(t.TempDir(), "data"), 1
	joiner.open(t)
	t.Cleanup(func() { joiner.close(t) })
	request := kv.JoinRequest{ID: "n4", PeerAddr: joiner.cfg.AdvertisePeer, HTTPAddr: joiner.cfg.AdvertiseHTTP}
	for _, n := range nodes {
		_, err := n.get().Join(t.Context(), request)
		if class := kv.Classify(err); class != kv.ErrTooOld || !strings.Contains(err.Error(), "n4 announces command version 1, and the cluster has written version 2") {
			t.Errorf("join through %s: got %v, want a kv.ErrTooOld that says both versions", n.cfg.Name, err)
		}
	}
	if s := joiner.get().Status(); s.ClusterID != "" {
		t.Errorf("the node that was refused belongs to cluster %s", s.ClusterID)
	}

	joiner.close(t)
	joiner.cfg.Join = nodes[0].cfg.Join // gossip tells the leader of it now
	joiner.open(t)
	testkit.Eventually(t, 30*time.Second, "the leader's log says why n4 is not added", func() error {
		if log.Count("n4 announces command version 1, and the cluster has written version 2") == 0 {
			return errors.New("no line")
		}
		return nil
	})
	expectVersions(t, nodes[0], "n1 2", "n2 2", "n3 2")

	for _, n := range nodes {
		n.close(t)
		n.cfg.MaxCommandVersion = 1
		n.open(t)
		testkit.Eventually(t, 30*time.Second, n.cfg.Name+" is ready", n.get().Ready)
	}
	for _, n := range nodes {
		mustDo(t, n, kv.Put("key", []byte("behind what the older build does not understand")))
		if _, err := nodes[0].get().Snapshot(t.Context(), n.cfg.Name); err != nil && !errors.Is(err, kv.ErrNothingToSnapshot) {
			t.Fatalf("snapshot of %s: %v", n.cfg.Name, err)
		}
	}
	testkit.Eventually(t, 30*time.Second, "n4 is a member", joiner.get().Ready)
	expectVersions(t, joiner, "n1 1", "n2 1", "n3 1", "n4 1")
}

// TestVersions_HistoryIsFinal shows that a store with a history admits no node that does not
// understand it, even if no log has a newer command any more: snapshots have the history.
// The history of a cluster with an older member begins by itself when all understand it, at
// a revision of its own.
func TestVersions_HistoryIsFinal(t *testing.T) {
	nodes := openNodesWith(t, 3, func(c *cluster.Config) {
		if c.Name == "n2" {
			c.MaxCommandVersion = 2
		}
	})
	put := func(revision uint64) {
		t.Helper()
		if got, err := nodes[0].get().Do(t.Context(), kv.Put("key", []byte("value"))); err != nil || got.Revision != revision {
			t.Errorf("got %+v, %v, want revision %d", got, err, revision)
		}
	}
	put(1)
	add := kv.Request{Then: []kv.Op{{Kind: kv.OpAdd, Key: "number", Delta: 1}}}
	if _, err := nodes[0].get().Do(t.Context(), add); !errors.Is(err, kv.ErrUnsupported) || !strings.Contains(err.Error(), "n2 announces 2") {
		t.Errorf("an add: got %v, want a kv.ErrUnsupported that names n2", err)
	}
	nodes[1].close(t)
	nodes[1].cfg.MaxCommandVersion = 0
	nodes[1].open(t)
	testkit.Eventually(t, 30*time.Second, "the history begins", func() error {
		if got := nodes[0].get().Status().Revision; got != 2 {
			return fmt.Errorf("revision %d", got)
		}
		return nil
	})
	put(3)
	if _, err := nodes[0].get().Get(t.Context(), "key", kv.ReadOptions{Revision: 1}); !errors.Is(err, kv.ErrCompacted) {
		t.Errorf("before the history: got %v", err)
	}
	for _, n := range nodes {
		if _, err := nodes[0].get().Snapshot(t.Context(), n.cfg.Name); err != nil && !errors.Is(err, kv.ErrNothingToSnapshot) {
			t.Fatalf("snapshot of %s: %v", n.cfg.Name, err)
		}
		if s := n.get().Status(); s.Versions.Needs != 3 {
			t.Errorf("%s: needs version %d", n.cfg.Name, s.Versions.Needs)
		}
	}
	joiner := newGoldenNode("n4", loopback())
	joiner.cfg.DataDir, joiner.cfg.MaxCommandVersion = filepath.Join(t.TempDir(), "data"), 2
	joiner.open(t)
	t.Cleanup(func() { joiner.close(t) })
	request := kv.JoinRequest{ID: "n4", PeerAddr: joiner.cfg.AdvertisePeer, HTTPAddr: joiner.cfg.AdvertiseHTTP}
	if _, err := nodes[0].get().Join(t.Context(), request); kv.Classify(err) != kv.ErrTooOld {
		t.Errorf("join: got %v, want a kv.ErrTooOld", err)
	}
}
