package clusterprom

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/kvorum/kvorum/kv"
)

// descriptorFigures are the metrics of file descriptors. The process's open descriptors and
// its limit are not among them: they are process_open_fds and process_max_fds.
type descriptorFigures struct {
	limit, share, open *prometheus.Desc
}

func newDescriptorFigures() descriptorFigures {
	part := []string{"part"}
	return descriptorFigures{
		limit: prometheus.NewDesc("kvorum_descriptors_limit", "File descriptors that the process may have open.", nil, nil),
		share: prometheus.NewDesc("kvorum_descriptors_share", "File descriptors that are kept for each part of the node.", part, nil),
		open:  prometheus.NewDesc("kvorum_descriptors_open", "File descriptors that a part of the node has open, of those parts that count.", part, nil),
	}
}

func (f descriptorFigures) describe(out chan<- *prometheus.Desc) {
	out <- f.limit
	out <- f.share
	out <- f.open
}

// collect sends the metrics of s, or none if it is nil.
func (f descriptorFigures) collect(out chan<- prometheus.Metric, s *kv.DescriptorStatus) {
	if s == nil {
		return
	}
	gauge := func(desc *prometheus.Desc, value int, labels ...string) {
		out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, float64(value), labels...)
	}
	gauge(f.limit, s.Limit)
	for name, part := range s.Parts() {
		gauge(f.share, part.Share, name)
		if part.Open != nil {
			gauge(f.open, *part.Open, name)
		}
	}
}
