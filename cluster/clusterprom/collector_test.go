package clusterprom_test

import (
	"testing"

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
	source := fixed{Leader: true, Term: 7, CommitIndex: 42, Keys: 3, Log: wal.Stats{LastIndex: 41, Syncs: 5}}
	if err := registry.Register(clusterprom.New(source)); err != nil {
		t.Fatal(err)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		got[f.GetName()] = f.GetMetric()[0].GetGauge().GetValue() + f.GetMetric()[0].GetCounter().GetValue()
	}
	for name, want := range map[string]float64{
		"kvorum_leader": 1, "kvorum_has_leader": 0, "kvorum_term": 7, "kvorum_commit_index": 42,
		"kvorum_keys": 3, "kvorum_log_last_index": 41, "kvorum_log_syncs_total": 5,
	} {
		if v, ok := got[name]; !ok || v != want {
			t.Errorf("%s: got %v (%t), want %v", name, v, ok, want)
		}
	}
}
