package cluster_test

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kvorum/kvorum/cluster/internal/clustertest"
	"github.com/kvorum/kvorum/kv"
)

// TestQuota_Exact puts more keys at the same time, through all nodes, than the quota has room
// for. As many are done as there is room for, and all others are refused. What adds nothing is
// done, and so are deletes, which make room.
func TestQuota_Exact(t *testing.T) { synctest.Test(t, testQuotaExact) }

func testQuotaExact(t *testing.T) {
	const most = 50
	nodes := clustertest.OpenBubble(t, 3, nil).Nodes
	if _, err := nodes[0].Do(t.Context(), kv.Delete("first")); err != nil {
		t.Fatal(err)
	}
	clustertest.Leader(t, nodes)
	if err := nodes[0].SetSettings(t.Context(), kv.Settings{Quota: kv.Quota{MaxKeys: most}}); err != nil {
		t.Fatal(err)
	}
	var done atomic.Int64
	var putting sync.WaitGroup
	for i := range 3 * most {
		putting.Go(func() {
			_, err := nodes[i%3].Do(t.Context(), kv.Put(fmt.Sprint("k", i), nil))
			if err == nil {
				done.Add(1)
			} else if !errors.Is(err, kv.ErrDataLimit) || !strings.Contains(err.Error(), "quota.max_keys is 50") {
				t.Errorf("got %v, want %v with the setting", err, kv.ErrDataLimit)
			}
		})
	}
	putting.Wait()
	if done.Load() != most {
		t.Errorf("%d puts were done, want %d", done.Load(), most)
	}
	view, err := nodes[1].View(t.Context(), kv.ReadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer view.Close()
	var key string
	for it := range view.Ascend(kv.All()) {
		key = it.Key
	}
	for _, n := range nodes {
		if _, err := n.Do(t.Context(), kv.Put("new", nil)); !errors.Is(err, kv.ErrDataLimit) {
			t.Errorf("%s: a new key: got %v", n.Config.Name, err)
		}
		for _, step := range []struct {
			name    string
			request kv.Request
		}{
			{"Overwrite", kv.Put(key, make([]byte, 100))}, {"Touch", kv.Touch(key, time.Hour)},
			{"Delete", kv.Delete(key)}, {"NewAfterDelete", kv.Put(key, nil)},
		} {
			if _, err := n.Do(t.Context(), step.request); err != nil {
				t.Errorf("%s: %s: %v", n.Config.Name, step.name, err)
			}
		}
		if _, err := n.Get(t.Context(), key, kv.ReadOptions{}); err != nil { // it has applied all of this
			t.Fatal(err)
		}
		status := n.Status().Limits.Quota
		if status.MaxKeys != most || status.Keys != most {
			t.Errorf("%s: got %+v, want %d of %d keys", n.Config.Name, status, most, most)
		}
	}
}

// TestQuota_BelowWhatIsStored shows that a quota below the data is refused through each node, with
// the figures, and changes no setting.
func TestQuota_BelowWhatIsStored(t *testing.T) {
	nodes := clustertest.Open(t, 3, nil)
	clustertest.Leader(t, nodes)
	clustertest.MustPut(t, nodes[0], "a", "1")
	clustertest.MustPut(t, nodes[0], "b", "2")
	for _, n := range nodes {
		for want, quota := range map[string]kv.Quota{
			"quota.max_keys is 1, and there are 2 keys": {MaxKeys: 1}, "quota.max_bytes is 3, and the data has 4 bytes": {MaxBytes: 3},
		} {
			err := n.SetSettings(t.Context(), kv.Settings{MaxKeyBytes: 9, Quota: quota})
			if kv.Classify(err) != kv.ErrQuotaTooLow || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: got %v, want %s", n.Config.Name, err, want)
			}
		}
		if got, err := n.Settings(t.Context()); err != nil || !reflect.DeepEqual(got, kv.Settings{}) {
			t.Errorf("%s: got settings %+v, %v", n.Config.Name, got, err)
		}
	}
}

// keysAt returns all keys that a linearizable read of a node shows, and their revisions.
func keysAt(t *testing.T, n *clustertest.Node) (keys []string) {
	t.Helper()
	view, err := n.View(t.Context(), kv.ReadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer view.Close()
	for it := range view.Ascend(kv.All()) {
		keys = append(keys, fmt.Sprint(it.Key, "@", it.ModRevision))
	}
	return keys
}

// TestEvict puts far more keys than the quota has room for, through all nodes, under each policy that
// evicts keys without a deadline, and hands leadership over in between. No put is refused, no node ever
// shows more keys than the quota, protected keys stay, and all nodes have the same keys in the end.
func TestEvict(t *testing.T) {
	const most, writers, puts = 50, 8, 40
	nodes := clustertest.Open(t, 3, nil)
	clustertest.Leader(t, nodes)
	clustertest.MustPut(t, nodes[0], "config/a", "stays")
	for _, eviction := range []kv.Eviction{kv.EvictionLRU, kv.EvictionLFU, kv.EvictionRandom} {
		quota := kv.Quota{MaxKeys: most, Eviction: eviction, ProtectedPrefixes: []string{"config/"}}
		if err := nodes[1].SetSettings(t.Context(), kv.Settings{Quota: quota}); err != nil {
			t.Fatal(err)
		}
		var putting sync.WaitGroup
		for w := range writers {
			putting.Go(func() {
				n := nodes[w%3]
				for i := range puts {
					_, err := n.Do(t.Context(), kv.Put(fmt.Sprint(eviction, w, "-", i), []byte("v")))
					if err != nil && !errors.Is(err, kv.ErrUnknownOutcome) {
						t.Errorf("%s: %v", eviction, err)
					}
					if got := n.State().Len(); got > most {
						t.Errorf("%s: %d keys on %s, the quota is %d", eviction, got, n.Config.Name, most)
					}
				}
			})
		}
		if err := clustertest.Leader(t, nodes).Transfer(t.Context(), ""); err != nil {
			t.Error(err)
		}
		putting.Wait()
		want := keysAt(t, nodes[0])
		if len(want) != most || !strings.HasPrefix(want[0], "config/a@") {
			t.Errorf("%s: got %d keys, the first of which is %s", eviction, len(want), want[0])
		}
		for _, n := range nodes[1:] {
			if got := keysAt(t, n); !slices.Equal(got, want) {
				t.Errorf("%s: the keys of %s differ", eviction, n.Config.Name)
			}
		}
	}
	for _, n := range nodes {
		if got := n.Status().Limits.Quota; got.Evicted < 3*(writers*puts-most) || got.Eviction != "random" {
			t.Errorf("%s: got %+v", n.Config.Name, got)
		}
	}
}

// TestEvict_LowerQuota shows that the leader evicts what is too much for a lower quota, without a
// write, and that watches see it.
func TestEvict_LowerQuota(t *testing.T) {
	clustertest.InBubble(t, "", func(t *testing.T) {
		b := clustertest.OpenBubble(t, 3, nil)
		for i := range 20 {
			clustertest.MustPut(t, b.Nodes[0], fmt.Sprintf("k%02d", i), "v")
		}
		if _, err := b.Nodes[0].Do(t.Context(), kv.Touch("k07", time.Hour)); err != nil {
			t.Fatal(err)
		}
		w, err := b.Nodes[1].Watch(t.Context(), kv.WatchOptions{Span: kv.All(), Kinds: kv.Kinds(kv.EventEvict)})
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		all := int64(len(keysAt(t, b.Nodes[0])))
		for _, quota := range []kv.Quota{{MaxKeys: all - 1, Eviction: kv.EvictionTTL}, {MaxKeys: 4, Eviction: kv.EvictionRandom}} {
			if err := b.Nodes[2].SetSettings(t.Context(), kv.Settings{Quota: quota}); err != nil {
				t.Fatal(err)
			}
			batch, err := w.Next(t.Context())
			if err != nil || quota.Eviction == kv.EvictionTTL && (len(batch.Events) != 1 || batch.Events[0].Item.Key != "k07") {
				t.Fatalf("got %+v, %v", batch, err)
			}
			synctest.Wait()
			for _, n := range b.Nodes {
				if got := keysAt(t, n); int64(len(got)) != quota.MaxKeys {
					t.Errorf("%s has %d keys, want %d", n.Config.Name, len(got), quota.MaxKeys)
				}
			}
		}
	})
}

// TestEvict_ReadsOnFollowers shows that keys which clients read on followers alone stay, also after
// leadership has moved to one of them, while all others are evicted.
func TestEvict_ReadsOnFollowers(t *testing.T) {
	clustertest.InBubble(t, "", func(t *testing.T) {
		const most, hot = 200, 10
		b := clustertest.OpenBubble(t, 3, nil)
		leader, one, two := b.LeaderAndOthers(t)
		quota := kv.Quota{MaxKeys: most, Eviction: kv.EvictionLFU}
		if err := leader.SetSettings(t.Context(), kv.Settings{Quota: quota}); err != nil {
			t.Fatal(err)
		}
		put := func(n *clustertest.Node, name string, keys int) {
			for i := range keys {
				clustertest.MustPut(t, n, fmt.Sprint(name, i), "v")
			}
		}
		read := func(n *clustertest.Node) {
			for range 5 {
				for i := range 50 * hot {
					if got, err := n.Get(t.Context(), fmt.Sprint("hot", i%hot), kv.ReadOptions{Level: kv.Stale}); err != nil || !got.Found {
						t.Fatalf("hot%d on %s: found %v, %v", i%hot, n.Config.Name, got.Found, err)
					}
				}
				time.Sleep(2 * time.Second) // the leader asks for samples
			}
		}
		put(leader, "hot", hot)
		if _, err := two.Get(t.Context(), "hot0", kv.ReadOptions{}); err != nil { // it has applied all of this
			t.Fatal(err)
		}
		read(two)
		put(leader, "first", 2*most)
		if _, err := two.Get(t.Context(), "hot0", kv.ReadOptions{}); err != nil {
			t.Fatal(err)
		}
		read(two)
		if err := leader.Transfer(t.Context(), one.Config.Name); err != nil {
			t.Fatal(err)
		}
		read(two)
		put(one, "second", 2*most)
		for i := range hot {
			if got, err := one.Get(t.Context(), fmt.Sprint("hot", i), kv.ReadOptions{}); err != nil || !got.Found {
				t.Errorf("hot%d: found %v, %v", i, got.Found, err)
			}
		}
	})
}
