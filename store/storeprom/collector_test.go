package storeprom_test

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/kvorum/kvorum/store"
	"github.com/kvorum/kvorum/store/storeprom"
)

// TestCollector shows that a registry takes two stores told apart by a label,
// and shows their figures as they are.
func TestCollector(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	for _, name := range []string{"a", "b"} {
		s, err := store.New()
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if err := s.Set("key", []byte("value of "+name)); err != nil {
			t.Fatal(err)
		}
		_, _ = s.Get("key")
		_, _ = s.Get("nobody")
		if err := registry.Register(storeprom.New(s, prometheus.Labels{"store": name})); err != nil {
			t.Fatal(err)
		}
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if m.GetLabel()[0].GetValue() == "b" {
				got[f.GetName()] = m.GetGauge().GetValue() + m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	for name, want := range map[string]float64{
		"kvorum_store_entries": 1, "kvorum_store_bytes": 13, "kvorum_store_sets_total": 1, "kvorum_store_gets_total": 2,
		"kvorum_store_hits_total": 1, "kvorum_store_misses_total": 1, "kvorum_store_write_seconds": 1,
	} {
		if got[name] != want {
			t.Errorf("%s: got %v, want %v", name, got[name], want)
		}
	}
}
