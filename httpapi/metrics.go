package httpapi

import (
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics counts requests by route template, method and status. The number of these labels
// has a limit that does not depend on requests.
type metrics struct {
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
}

// newMetrics returns metrics, registered with reg unless that is nil.
func newMetrics(reg prometheus.Registerer, b *budget, c *connLimit) (*metrics, error) {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "kvorum_http_requests_total",
			Help: `Answered HTTP requests; code is "aborted" where the answer was broken off.`,
		}, []string{"route", "method", "code"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "kvorum_http_request_duration_seconds",
			Help:    "Time from a request's headers to the end of its handler.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"route", "method"}),
	}
	if reg == nil {
		return m, nil
	}
	gauge := func(name, help string, value func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value)
	}
	collectors := []prometheus.Collector{
		m.requests,
		m.duration,
		gauge("kvorum_http_inflight_requests", "Requests to /kv/ and /admin/ in flight.", func() float64 {
			requests, _ := b.inFlight()
			return float64(requests)
		}),
		gauge("kvorum_http_inflight_bytes", "Bytes reserved for request bodies in flight, and for answers to transactions and about leases.", func() float64 {
			_, bytes := b.inFlight()
			return float64(bytes)
		}),
		gauge("kvorum_http_connections", "Open HTTP connections.", func() float64 {
			return float64(c.open())
		}),
	}
	var errs []error
	for _, collector := range collectors {
		errs = append(errs, reg.Register(collector))
	}
	return m, errors.Join(errs...)
}

// observe counts a request that w answered.
func (m *metrics) observe(w *response, r *http.Request, took time.Duration, aborted bool) {
	code := strconv.Itoa(w.status)
	switch {
	case aborted:
		code = "aborted"
	case w.status == 0: // net/http answers 200 for a handler that wrote nothing
		code = "200"
	}
	method := methodLabel(r.Method)
	m.requests.WithLabelValues(w.route, method, code).Inc()
	m.duration.WithLabelValues(w.route, method).Observe(took.Seconds())
}

// methodLabel returns method if the API has it, otherwise "other".
func methodLabel(method string) string {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPut, http.MethodPost, http.MethodDelete:
		return method
	default:
		return "other"
	}
}
