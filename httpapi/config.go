package httpapi

import (
	"cmp"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/kvorum/kvorum/kv"
)

// Defaults of a Config's zero fields.
const (
	DefaultMaxKeyBytes         = 1 << 10
	DefaultMaxValueBytes       = 1 << 20
	DefaultMaxInflightBytes    = 256 << 20
	DefaultMaxInflightRequests = 4096
	DefaultMaxConns            = 8192
	DefaultRequestTimeout      = 4500 * time.Millisecond
	DefaultAdminTimeout        = 30 * time.Second
	DefaultStallTimeout        = 10 * time.Second
	DefaultListTimeout         = 10 * time.Minute
	DefaultBatchTimeout        = 30 * time.Minute
	DefaultReadHeaderTimeout   = 5 * time.Second
	DefaultIdleTimeout         = 2 * time.Minute
)

// maxHeaderBytes is the maximum number of bytes of a request's line and headers.
const maxHeaderBytes = 64 << 10

// maxMaxKeyBytes is the maximum of MaxKeyBytes. A key takes up to three bytes of the
// request line for each of its own, and the headers need room too.
const maxMaxKeyBytes = 16 << 10

// Config configures a Server. A zero limit or duration means its default.
type Config struct {
	// Node carries out the requests; required.
	Node Node
	// NodeID is the node's name, which every answer carries; required.
	NodeID string

	// MaxKeyBytes is the maximum length of a key, at most 16 KiB, if Node has none. Default
	// 1 KiB.
	MaxKeyBytes int
	// MaxValueBytes is the maximum length of a value if Node has none, and a length for
	// which there is room. Default 1 MiB.
	MaxValueBytes int
	// MaxInflightBytes is the maximum number of bytes of the bodies of all requests in
	// flight, at least MaxValueBytes. A request without room is refused with 429. Default
	// 256 MiB.
	MaxInflightBytes int64
	// MaxInflightRequests is the maximum number of requests to /kv/ and /admin/ in flight.
	// One more is refused with 429. Default 4096.
	MaxInflightRequests int
	// MaxConns is the maximum number of open connections. One more replaces one that waits
	// for a request, or waits until an answer closes its connection. Default 8192.
	MaxConns int

	// MaxStreams is the maximum number of watches, long polls and batches. They do not count
	// as requests in flight, but each has a connection. One more is refused with 429. Default
	// half of MaxConns, at least 1.
	MaxStreams int

	// RequestTimeout is the maximum time of the node for a read or a write, after the body
	// has arrived. The default, 4.5 s, tells a client of a lost quorum within 5 s.
	RequestTimeout time.Duration
	// AdminTimeout is RequestTimeout for requests to /admin/. Default 30 s.
	AdminTimeout time.Duration
	// StallTimeout is the maximum time in which a client sends or takes 64 KiB, or the rest
	// of a body. A whole body or answer must also pass at 32 KiB per second on average, not
	// counting one StallTimeout. Default 10 s.
	StallTimeout time.Duration
	// ListTimeout is the maximum time of a list, and of the state with which a watch begins.
	// Until their end, their view keeps in memory what is replaced meanwhile. The default, 10
	// min, is that for which the history keeps it anyway.
	ListTimeout time.Duration
	// BatchTimeout is the maximum time of a batch, which has no view. Default 30 min.
	BatchTimeout time.Duration
	// ReadHeaderTimeout is the maximum time in which a client sends a request's headers.
	// Default 5 s.
	ReadHeaderTimeout time.Duration
	// IdleTimeout is the maximum time that a connection waits for its next request. Default
	// 2 min.
	IdleTimeout time.Duration

	// Metrics serves /metrics; if it is nil, there is no such route.
	Metrics http.Handler
	// Registerer registers the server's own metrics; if it is nil, they are not registered.
	Registerer prometheus.Registerer
	// Logger logs internal errors and panics, never keys or values; if it is nil, nothing
	// is logged.
	Logger *slog.Logger
}

// withDefaults returns c with its zero fields set to their defaults.
func (c Config) withDefaults() Config {
	c.MaxKeyBytes = cmp.Or(c.MaxKeyBytes, DefaultMaxKeyBytes)
	c.MaxValueBytes = cmp.Or(c.MaxValueBytes, DefaultMaxValueBytes)
	c.MaxInflightBytes = cmp.Or(c.MaxInflightBytes, DefaultMaxInflightBytes)
	c.MaxInflightRequests = cmp.Or(c.MaxInflightRequests, DefaultMaxInflightRequests)
	c.MaxConns = cmp.Or(c.MaxConns, DefaultMaxConns)
	c.MaxStreams = cmp.Or(c.MaxStreams, max(c.MaxConns/2, 1))
	c.RequestTimeout = cmp.Or(c.RequestTimeout, DefaultRequestTimeout)
	c.AdminTimeout = cmp.Or(c.AdminTimeout, DefaultAdminTimeout)
	c.StallTimeout = cmp.Or(c.StallTimeout, DefaultStallTimeout)
	c.ListTimeout = cmp.Or(c.ListTimeout, DefaultListTimeout)
	c.BatchTimeout = cmp.Or(c.BatchTimeout, DefaultBatchTimeout)
	c.ReadHeaderTimeout = cmp.Or(c.ReadHeaderTimeout, DefaultReadHeaderTimeout)
	c.IdleTimeout = cmp.Or(c.IdleTimeout, DefaultIdleTimeout)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// Validate returns an error for each bad field of c: *kv.ValidationError values, joined. A
// zero field counts as its default.
func (c Config) Validate() error {
	c = c.withDefaults()
	var errs []error
	require := func(ok bool, field, reason string) {
		if !ok {
			errs = append(errs, &kv.ValidationError{Field: field, Reason: reason})
		}
	}
	require(c.Node != nil, "Node", "is required")
	require(c.NodeID != "", "NodeID", "is required")
	require(c.MaxKeyBytes > 0, "MaxKeyBytes", "must be positive")
	require(c.MaxKeyBytes <= maxMaxKeyBytes, "MaxKeyBytes", "must be at most 16 KiB")
	require(c.MaxValueBytes > 0, "MaxValueBytes", "must be positive")
	require(c.MaxInflightBytes >= int64(c.MaxValueBytes), "MaxInflightBytes", "must be at least MaxValueBytes")
	require(c.MaxInflightBytes >= maxAdminBody, "MaxInflightBytes", "must be at least 64 KiB")
	require(c.MaxInflightRequests > 0, "MaxInflightRequests", "must be positive")
	require(c.MaxConns > 0, "MaxConns", "must be positive")
	require(c.MaxStreams > 0, "MaxStreams", "must be positive")
	require(c.RequestTimeout > 0, "RequestTimeout", "must be positive")
	require(c.AdminTimeout > 0, "AdminTimeout", "must be positive")
	require(c.StallTimeout > 0, "StallTimeout", "must be positive")
	require(c.ListTimeout > 0, "ListTimeout", "must be positive")
	require(c.BatchTimeout > 0, "BatchTimeout", "must be positive")
	require(c.ReadHeaderTimeout > 0, "ReadHeaderTimeout", "must be positive")
	require(c.IdleTimeout > 0, "IdleTimeout", "must be positive")
	return errors.Join(errs...)
}
