package storeprom_test

import (
	"maps"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/kvorum/kvorum/store"
	"github.com/kvorum/kvorum/store/storeprom"
	"github.com/kvorum/kvorum/wal"
)

// fixed is a store with figures of which no two are alike.
type fixed store.Metrics

func (f fixed) Metrics() store.Metrics { return store.Metrics(f) }

// figures returns a store's figures by name, of a histogram the number of times.
func figures(t *testing.T, registry *prometheus.Registry, name string) map[string]float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if m.GetLabel()[0].GetValue() == name {
				got[f.GetName()] = m.GetGauge().GetValue() + m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	return got
}

// TestCollector_Figures shows that every figure is there, under its own name.
func TestCollector_Figures(t *testing.T) {
	m := store.Metrics{
		Sets: 1, Gets: 2, Hits: 3, Misses: 4, Deletes: 5, Evictions: 6, Expirations: 7, Entries: 8, Bytes: 9,
		WALBytes: 10, WALAppends: 11, WALSyncs: 2, Snapshots: 12, SnapshotTime: 13 * time.Second,
	}
	times := func(n int) (h wal.Histogram) {
		for range n {
			h.Add(time.Millisecond)
		}
		return h
	}
	m.WriteTimes, m.SyncTimes = times(14), times(2)
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(storeprom.New(fixed(m), prometheus.Labels{"store": "a"}))
	want := map[string]float64{}
	for name, value := range map[string]float64{
		"sets_total": 1, "gets_total": 2, "hits_total": 3, "misses_total": 4, "deletes_total": 5, "evictions_total": 6,
		"expirations_total": 7, "entries": 8, "bytes": 9, "wal_bytes": 10, "wal_appends_total": 11, "snapshots_total": 12,
		"snapshot_seconds": 13, "write_seconds": 14, "wal_sync_seconds": 2,
	} {
		want["kvorum_store_"+name] = value
	}
	if got := figures(t, registry, "a"); !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// TestCollector_Stores shows that a registry takes two stores told apart by a
// label, and shows the figures of each.
func TestCollector_Stores(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	for _, name := range []string{"a", "bb"} {
		s, err := store.New()
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if err := s.Set("key", []byte(name)); err != nil {
			t.Fatal(err)
		}
		if err := registry.Register(storeprom.New(s, prometheus.Labels{"store": name})); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]float64{"a": 4, "bb": 5} {
		if got := figures(t, registry, name)["kvorum_store_bytes"]; got != want {
			t.Errorf("bytes of %s: got %v, want %v", name, got, want)
		}
	}
}
