package clusterprom_test

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/kvorum/kvorum/cluster"
	"github.com/kvorum/kvorum/cluster/clusterprom"
	"github.com/kvorum/kvorum/wal"
)

// fixed is a Source of the same figures at every scrape.
type fixed cluster.Stats

func (f fixed) Stats() cluster.Stats { return cluster.Stats(f) }

func TestCollector(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	source := fixed{Leader: true, Term: 7, CommitIndex: 42, Keys: 3, Log: wal.Stats{LastIndex: 41, Syncs: 5},
		Peers: []cluster.PeerStatus{{ID: "n2.x", Connected: true, Lag: 9, Snapshot: &cluster.SnapshotStatus{Sent: 77}}}}
	source.Log.SyncTimes.Add(time.Millisecond)
	source.Log.SyncTimes.Add(time.Second)
	if err := registry.Register(clusterprom.New(source)); err != nil {
		t.Fatal(err)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		got[f.GetName()] = f.GetMetric()[0].GetGauge().GetValue() + f.GetMetric()[0].GetCounter().GetValue() + f.GetMetric()[0].GetHistogram().GetSampleSum()
	}
	for name, want := range map[string]float64{
		"kvorum_leader": 1, "kvorum_has_leader": 0, "kvorum_term": 7, "kvorum_commit_index": 42,
		"kvorum_keys": 3, "kvorum_log_last_index": 41, "kvorum_log_sync_seconds": 1.001,
		"kvorum_peer_connected": 1, "kvorum_peer_lag_entries": 9, "kvorum_peer_snapshot_sent_bytes": 77,
	} {
		if v, ok := got[name]; !ok || v != want {
			t.Errorf("%s: got %v (%t), want %v", name, v, ok, want)
		}
	}
}
