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
	DefaultListTimeout         = 30 * time.Minute
	DefaultReadHeaderTimeout   = 5 * time.Second
	DefaultIdleTimeout         = 2 * time.Minute
)

// maxHeaderBytes bounds a request's line and headers.
const maxHeaderBytes = 64 << 10

// maxMaxKeyBytes bounds MaxKeyBytes: a key takes up to three bytes of the
// request line for each of its own, and the headers need room beside it.
const maxMaxKeyBytes = 16 << 10

// Config configures a Server. A zero limit or duration means its default.
type Config struct {
	// Node is what is served; required.
	Node Node
	// NodeID is the node's name, which every answer carries; required.
	NodeID string

	// MaxKeyBytes is the greatest length of a key, at most 16 KiB. Default 1 KiB.
	MaxKeyBytes int
	// MaxValueBytes is the greatest length of a value. Default 1 MiB.
	MaxValueBytes int
	// MaxInflightBytes is what the bodies of all requests in flight may take
	// together, at least MaxValueBytes. A request that finds no room is refused
	// with 429. Default 256 MiB.
	MaxInflightBytes int64
	// MaxInflightRequests is how many requests to /kv/ and /admin/ may be in
	// flight; one more is refused with 429. Default 4096.
	MaxInflightRequests int
	// MaxConns is how many connections may be open. One more takes the place of one
	// that waits for a request, or waits until an answer closes its connection.
	// Default 8192.
	MaxConns int

	// RequestTimeout is what the node is given for a read or a write, once the
	// body has come. It stays under 5 s by default so that a client learns of a
	// lost quorum within that. Default 4.5 s.
	RequestTimeout time.Duration
	// AdminTimeout is RequestTimeout for membership changes. Default 30 s.
	AdminTimeout time.Duration
	// StallTimeout is what a client is given to send or take 64 KiB, or what is
	// left of a body. On average, a whole body or answer must also pass at 32 KiB a
	// second, after a first StallTimeout. Default 10 s.
	StallTimeout time.Duration
	// ListTimeout is the longest that a list may take: until its end, its view keeps
	// every value that is replaced in memory. Default 30 min.
	ListTimeout time.Duration
	// ReadHeaderTimeout is what a client is given to send a request's headers. Default 5 s.
	ReadHeaderTimeout time.Duration
	// IdleTimeout is how long a connection may wait for its next request. Default 2 min.
	IdleTimeout time.Duration

	// Metrics serves /metrics; nil means that there is no such route.
	Metrics http.Handler
	// Registerer takes the server's own metrics; nil means that nothing is registered.
	Registerer prometheus.Registerer
	// Logger takes internal errors and panics, never keys or values; nil means discard.
	Logger *slog.Logger
}

// withDefaults returns c with its zero fields set.
func (c Config) withDefaults() Config {
	c.MaxKeyBytes = cmp.Or(c.MaxKeyBytes, DefaultMaxKeyBytes)
	c.MaxValueBytes = cmp.Or(c.MaxValueBytes, DefaultMaxValueBytes)
	c.MaxInflightBytes = cmp.Or(c.MaxInflightBytes, DefaultMaxInflightBytes)
	c.MaxInflightRequests = cmp.Or(c.MaxInflightRequests, DefaultMaxInflightRequests)
	c.MaxConns = cmp.Or(c.MaxConns, DefaultMaxConns)
	c.RequestTimeout = cmp.Or(c.RequestTimeout, DefaultRequestTimeout)
	c.AdminTimeout = cmp.Or(c.AdminTimeout, DefaultAdminTimeout)
	c.StallTimeout = cmp.Or(c.StallTimeout, DefaultStallTimeout)
	c.ListTimeout = cmp.Or(c.ListTimeout, DefaultListTimeout)
	c.ReadHeaderTimeout = cmp.Or(c.ReadHeaderTimeout, DefaultReadHeaderTimeout)
	c.IdleTimeout = cmp.Or(c.IdleTimeout, DefaultIdleTimeout)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// Validate reports everything that is wrong with c, its zero fields taken as
// their defaults, as *kv.ValidationError values joined into one error.
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
	require(c.RequestTimeout > 0, "RequestTimeout", "must be positive")
	require(c.AdminTimeout > 0, "AdminTimeout", "must be positive")
	require(c.StallTimeout > 0, "StallTimeout", "must be positive")
	require(c.ListTimeout > 0, "ListTimeout", "must be positive")
	require(c.ReadHeaderTimeout > 0, "ReadHeaderTimeout", "must be positive")
	require(c.IdleTimeout > 0, "IdleTimeout", "must be positive")
	return errors.Join(errs...)
}
