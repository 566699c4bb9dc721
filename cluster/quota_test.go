package cluster_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kvorum/kvorum/cluster/internal/clustertest"
	"github.com/kvorum/kvorum/kv"
)

// TestQuota_Exact puts more keys at the same time, through all nodes, than the quota has room
// for. As many are done as there is room for, and all others are refused. What adds nothing is
// done, and so are deletes, which make room.
func TestQuota_Exact(t *testing.T) {
	const most = 50
	nodes := clustertest.Open(t, 3, nil)
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
		if got, err := n.Settings(t.Context()); err != nil || got != (kv.Settings{}) {
			t.Errorf("%s: got settings %+v, %v", n.Config.Name, got, err)
		}
	}
}
