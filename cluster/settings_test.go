package cluster_test

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kvorum/kvorum/cluster"
	"github.com/kvorum/kvorum/cluster/internal/clustertest"
	"github.com/kvorum/kvorum/cluster/replica"
	"github.com/kvorum/kvorum/kv"
	"github.com/kvorum/kvorum/transport"
)

// TestSettings shows that settings which one node has set are those of all, that they limit
// requests, and that settings out of range are refused.
func TestSettings(t *testing.T) {
	nodes := clustertest.Open(t, 3, nil)
	clustertest.Leader(t, nodes)
	for i, n := range nodes {
		want := kv.Settings{MaxValueBytes: 10 * (i + 1), MaxKeyBytes: 5, History: kv.Retention{MaxRevisions: 100}}
		if err := n.SetSettings(t.Context(), want); err != nil {
			t.Fatal(err)
		}
		for _, other := range nodes {
			if got, err := other.Settings(t.Context()); err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("got %+v, %v, want %+v", got, err, want)
			}
			if _, err := other.Do(t.Context(), kv.Put("k", make([]byte, want.MaxValueBytes))); err != nil {
				t.Errorf("a value at the limit: got %v", err)
			}
			_, err := other.Do(t.Context(), kv.Put("k", make([]byte, want.MaxValueBytes+1)))
			if class := kv.Classify(err); class == nil || class.Code != kv.CodeTooLarge {
				t.Errorf("a value over the limit: got %v", err)
			}
		}
		if err := n.SetSettings(t.Context(), kv.Settings{MaxValueBytes: -1}); !errors.As(err, new(*kv.ValidationError)) {
			t.Errorf("out of range: got %v", err)
		}
	}
}

// TestCompact shows that each node compacts the history of all, and which revisions are
// refused.
func TestCompact(t *testing.T) {
	nodes := clustertest.Open(t, 3, nil)
	clustertest.Leader(t, nodes)
	for i := range 5 {
		clustertest.MustPut(t, nodes[0], "k", fmt.Sprint(i))
	}
	for i, n := range nodes {
		revision := uint64(i + 3)
		if got, err := n.Compact(t.Context(), revision); err != nil || got != (kv.CompactResult{Revision: 6, CompactRevision: revision}) {
			t.Errorf("got %+v, %v", got, err)
		}
		_, err := n.Compact(t.Context(), revision)
		compacted := (*kv.CompactedError)(nil)
		if !errors.As(err, &compacted) || *compacted != (kv.CompactedError{Revision: revision, CompactRevision: revision}) {
			t.Errorf("again: got %v", err)
		}
		if _, err := n.Compact(t.Context(), 7); !errors.Is(err, kv.ErrFuture) {
			t.Errorf("a future revision: got %v", err)
		}
		for _, other := range nodes {
			if _, err := other.Get(t.Context(), "k", kv.ReadOptions{Revision: revision - 1}); !errors.Is(err, kv.ErrCompacted) {
				t.Errorf("below it: got %v", err)
			}
			if got, err := other.Get(t.Context(), "k", kv.ReadOptions{Revision: revision}); err != nil || !got.Found {
				t.Errorf("at it: got %+v, %v", got, err)
			}
		}
	}
}

// TestRule_OfNewerBuild shows that a leader refuses a compaction, a setting or a kind of RPC
// that only a newer build has as unsupported, and names itself, and changes nothing. A request
// that no build understands is invalid.
func TestRule_OfNewerBuild(t *testing.T) {
	nodes := clustertest.Open(t, 3, nil)
	leader := clustertest.Leader(t, nodes)
	clustertest.MustPut(t, leader, "k", "")
	other := clustertest.Others(nodes, leader)[0]
	for name, call := range map[string]struct {
		kind    transport.Kind
		payload string
	}{
		"Rule":    {14, `{"archive":true}`},
		"Part":    {14, `{"compact":2,"archive":true}`},
		"Setting": {14, `{"settings":{"max_key_bytes":7,"max_lease":1}}`},
		"Kind":    {99, ``},
	} {
		_, err := other.Peers().Call(t.Context(), leader.ID(), call.kind, []byte(call.payload))
		if err = replica.FromWire(err, leader.ID()); kv.Classify(err) != kv.ErrUnsupported || !strings.Contains(err.Error(), leader.Config.Name) {
			t.Errorf("%s: got %v, want ErrUnsupported that names %s", name, err, leader.Config.Name)
		}
	}
	for name, payload := range map[string]string{
		"Malformed":       `{"compact":`,
		"Type":            `{"compact":"x"}`,
		"TypeOfSetting":   `{"settings":{"max_key_bytes":"x"}}`,
		"RangeOfRevision": `{"compact":-1}`,
	} {
		_, err := other.Peers().Call(t.Context(), leader.ID(), 14, []byte(payload))
		if err = replica.FromWire(err, leader.ID()); !errors.As(err, new(*kv.ValidationError)) {
			t.Errorf("%s: got %v, want a ValidationError", name, err)
		}
	}
	if got, err := other.Settings(t.Context()); err != nil || !reflect.DeepEqual(got, kv.Settings{}) {
		t.Errorf("got settings %+v, %v", got, err)
	}
	if got := leader.State().CompactRevision(); got != 0 {
		t.Errorf("got compact revision %d", got)
	}
}

// TestRule_WhileMemberIsOlder shows that a compaction and settings are refused as unsupported
// while a member announces a version without them, through each node, with its name.
func TestRule_WhileMemberIsOlder(t *testing.T) {
	nodes := clustertest.Open(t, 3, func(c *cluster.Config) {
		if c.Name == "n2" {
			c.MaxCommandVersion = 2
		}
	})
	clustertest.Leader(t, nodes)
	clustertest.MustPut(t, nodes[0], "k", "")
	for _, n := range nodes {
		_, err := n.Compact(t.Context(), 1)
		for what, err := range map[string]error{"compact": err, "settings": n.SetSettings(t.Context(), kv.Settings{})} {
			if kv.Classify(err) != kv.ErrUnsupported || !strings.Contains(err.Error(), "n2 announces 2") {
				t.Errorf("%s through %s: got %v", what, n.Config.Name, err)
			}
		}
	}
}

// TestRetention_NewestRevision shows that what the newest revision deleted is given back too,
// although nothing changes afterwards.
func TestRetention_NewestRevision(t *testing.T) {
	clustertest.InBubble(t, "", func(t *testing.T) {
		n := clustertest.OpenBubble(t, 1, nil).Nodes[0]
		if err := n.SetSettings(t.Context(), kv.Settings{History: kv.Retention{MaxAge: 10 * time.Second}}); err != nil {
			t.Fatal(err)
		}
		for i := range 100 {
			clustertest.MustPut(t, n, fmt.Sprint("k", i), "value")
		}
		all := kv.Request{Then: []kv.Op{{Kind: kv.OpDelete, Span: kv.All()}}}
		deleted, err := n.Do(t.Context(), all)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		state := n.State()
		if bytes, settled := state.HistoryBytes(); bytes != 0 || !settled {
			t.Errorf("history takes %d bytes (settled: %v) a minute after all was deleted", bytes, settled)
		}
		if got := state.Revision(); got != deleted.Revision+1 {
			t.Errorf("revision is %d, want one more than %d", got, deleted.Revision)
		}
	})
}

// TestRetention shows that a leader compacts by age, by number and by memory, and nothing
// that is to be kept.
func TestRetention(t *testing.T) {
	for _, tt := range []struct {
		name      string
		retention kv.Retention
		data      int64  // room for data in memory
		kept      uint64 // number of revisions before the newest one: at least so many,
		most      uint64 // and at most so many
	}{
		{"Age", kv.Retention{MaxAge: time.Minute}, 1 << 30, 59, 75},
		{"Number", kv.Retention{MaxRevisions: 20}, 1 << 30, 20, 31},
		{"Bytes", kv.Retention{MaxBytes: 1 << 20}, 1 << 30, 20, 150},
		{"Memory", kv.Retention{}, 8 << 20, 20, 150},
	} {
		clustertest.InBubble(t, tt.name, func(t *testing.T) {
			n := clustertest.OpenBubble(t, 1, func(c *cluster.Config) { c.Memory = clustertest.SmallPlan(tt.data) }).Nodes[0]
			if err := n.SetSettings(t.Context(), kv.Settings{History: tt.retention}); err != nil {
				t.Fatal(err)
			}
			value := make([]byte, 10_000)
			for range 300 {
				clustertest.MustPut(t, n, "k", string(value))
				time.Sleep(time.Second)
			}
			synctest.Wait()
			state := n.State()
			if kept := state.Revision() - state.CompactRevision(); kept < tt.kept || kept > tt.most {
				t.Errorf("%d revisions are kept, want %d to %d", kept, tt.kept, tt.most)
			}
		})
	}
}

// TestSettings_RuleAboveFlags opens nodes with different limits. A setting applies at all of
// them, also where it is above what a node is configured with. A length of values for which a
// member has no memory is refused with its name.
func TestSettings_RuleAboveFlags(t *testing.T) {
	const large = 10_000
	clustertest.InBubble(t, "", func(t *testing.T) {
		made := 0
		b := clustertest.OpenBubble(t, 3, func(c *cluster.Config) {
			c.MaxKeyBytes, c.MaxValueBytes = 10+made, large+made
			made++
		})
		leader, _, _ := b.LeaderAndOthers(t)
		small := b.Nodes[0]
		time.Sleep(15 * time.Second)
		status := leader.Status().Limits
		if status == nil || status.MaxValueBytes != leader.Config.MaxValueBytes || len(status.Differ) != 2 {
			t.Errorf("status of the leader: got %+v, want its limits, and two members with others", status)
		}
		if limits := small.Limits(); limits.MaxKeyBytes != 10 || limits.MaxValueBytes != large {
			t.Errorf("without a setting: got %+v", limits)
		}
		err := small.SetSettings(t.Context(), kv.Settings{MaxValueBytes: large + 1})
		if invalid := (*kv.ValidationError)(nil); !errors.As(err, &invalid) || invalid.Field != "max_value_bytes" || !strings.Contains(invalid.Reason, small.Config.Name) {
			t.Errorf("above one member's memory: got %v", err)
		}
		if err := small.SetSettings(t.Context(), kv.Settings{MaxKeyBytes: 20, MaxValueBytes: large - 1}); err != nil {
			t.Fatal(err)
		}
		// Every member has the setting then: followers are told what is committed after one to two
		// times Timing.Commit, which is a second here.
		time.Sleep(3 * time.Second)
		key := strings.Repeat("k", 20)
		for _, n := range b.Nodes {
			clustertest.MustPut(t, n, key, "v")
			if limits := n.Limits(); limits.MaxKeyBytes != 20 || limits.MaxValueBytes != large-1 {
				t.Errorf("%s: got %+v", n.Config.Name, limits)
			}
			if got, err := n.Get(t.Context(), key, kv.ReadOptions{}); err != nil || !got.Found {
				t.Errorf("%s: get: got %+v, %v", n.Config.Name, got, err)
			}
			if s := n.Status().Limits; s == nil || s.MaxKeyBytes != 20 {
				t.Errorf("%s: status: got %+v", n.Config.Name, s)
			}
		}
	})
}
