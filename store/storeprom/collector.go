// Package storeprom shows an embedded store's figures to Prometheus.
//
// It is apart from package store so that using a store needs no metrics
// library. A Collector takes new figures at every scrape and keeps
// nothing; it registers nothing by itself.
package storeprom

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/kvorum/kvorum/store"
	"github.com/kvorum/kvorum/wal"
)

// Source is what a Collector needs of a store; *store.Store has it. Metrics
// must be safe for concurrent use.
type Source interface {
	Metrics() store.Metrics
}

// figure is one metric: its description and how it is read.
type figure struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	read func(*store.Metrics) float64
}

// timing is a metric that is a histogram.
type timing struct {
	desc *prometheus.Desc
	read func(*store.Metrics) wal.Histogram
}

// Collector is a prometheus.Collector of one store. It is safe for concurrent use.
type Collector struct {
	source  Source
	figures []figure
	timings []timing
}

// New returns a Collector of source's figures. Labels tell stores of one
// process apart; they may be nil.
func New(source Source, labels prometheus.Labels) *Collector {
	c := &Collector{source: source}
	add := func(name, help string, kind prometheus.ValueType, read func(*store.Metrics) float64) {
		c.figures = append(c.figures, figure{prometheus.NewDesc("kvorum_store_"+name, help, nil, labels), kind, read})
	}
	gauge, counter := prometheus.GaugeValue, prometheus.CounterValue
	add("entries", "Keys in the store.", gauge, func(m *store.Metrics) float64 { return float64(m.Entries) })
	add("bytes", "Bytes of keys and values.", gauge, func(m *store.Metrics) float64 { return float64(m.Bytes) })
	add("sets_total", "Keys set.", counter, func(m *store.Metrics) float64 { return float64(m.Sets) })
	add("gets_total", "Reads.", counter, func(m *store.Metrics) float64 { return float64(m.Gets) })
	add("hits_total", "Reads that found their key.", counter, func(m *store.Metrics) float64 { return float64(m.Hits) })
	add("misses_total", "Reads that did not find their key.", counter, func(m *store.Metrics) float64 { return float64(m.Misses) })
	add("deletes_total", "Keys deleted.", counter, func(m *store.Metrics) float64 { return float64(m.Deletes) })
	add("evictions_total", "Keys evicted.", counter, func(m *store.Metrics) float64 { return float64(m.Evictions) })
	add("expirations_total", "Keys that expired.", counter, func(m *store.Metrics) float64 { return float64(m.Expirations) })
	add("wal_bytes", "Bytes that the log's files take.", gauge, func(m *store.Metrics) float64 { return float64(m.WALBytes) })
	add("wal_appends_total", "Writes of the log.", counter, func(m *store.Metrics) float64 { return float64(m.WALAppends) })
	add("snapshots_total", "Snapshots taken.", counter, func(m *store.Metrics) float64 { return float64(m.Snapshots) })
	add("snapshot_seconds", "Time that the last snapshot took.", gauge, func(m *store.Metrics) float64 { return m.SnapshotTime.Seconds() })
	time := func(name, help string, read func(*store.Metrics) wal.Histogram) {
		c.timings = append(c.timings, timing{prometheus.NewDesc("kvorum_store_"+name, help, nil, labels), read})
	}
	time("write_seconds", "Time from call to return of calls that change something, failed ones included.",
		func(m *store.Metrics) wal.Histogram { return m.WriteTimes })
	time("wal_sync_seconds", "Time of syncs of the log.", func(m *store.Metrics) wal.Histogram { return m.SyncTimes })
	return c
}

// Describe implements prometheus.Collector.
func (c *Collector) Describe(out chan<- *prometheus.Desc) {
	for _, f := range c.figures {
		out <- f.desc
	}
	for _, t := range c.timings {
		out <- t.desc
	}
}

// Collect implements prometheus.Collector.
func (c *Collector) Collect(out chan<- prometheus.Metric) {
	metrics := c.source.Metrics()
	for _, f := range c.figures {
		out <- prometheus.MustNewConstMetric(f.desc, f.kind, f.read(&metrics))
	}
	for _, t := range c.timings {
		out <- histogram(t.desc, t.read(&metrics))
	}
}

// histogram shows h in seconds.
func histogram(desc *prometheus.Desc, h wal.Histogram) prometheus.Metric {
	count, sum, buckets := h.Cumulative()
	return prometheus.MustNewConstHistogram(desc, count, sum, buckets)
}
