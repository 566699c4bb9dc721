package client

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"time"
)

const (
	// defaultTimeout is the default time for one call. It is more than a node's own limit
	// for a request, 4.5 s, so that the node's answer arrives before it.
	defaultTimeout = 10 * time.Second
	// defaultAdminTimeout is the default time for a change of the cluster. It is more than a
	// node's own limit for one, 30 s.
	defaultAdminTimeout = 40 * time.Second
	// dialTimeout is the maximum time for a connection attempt, so that an endpoint whose
	// packets are lost leaves time for the next one.
	dialTimeout = 2 * time.Second
	// idleConns is the number of connections to each endpoint that are kept for later
	// requests: as many as a busy program has requests in flight.
	idleConns = 1024
	// maxHeaderBytes is the maximum size of an answer's headers; a node's have less than 8 KiB.
	maxHeaderBytes = 64 << 10
)

// Config configures a Client.
type Config struct {
	// Endpoints are HTTP addresses of the cluster's nodes, at least one: each
	// host:port, http://host:port or https://host:port.
	Endpoints []string
	// Timeout is the maximum time for one call with all its attempts. For a list it is the
	// maximum wait for the first answer and for each later part. The context of a call can
	// only shorten it. Zero is 10 s, and 40 s for Join, Leave, Transfer and Snapshot.
	Timeout time.Duration
	// CAFile is a PEM file of the authorities that sign the nodes' certificates, for
	// https endpoints. It is read once. "" means the authorities that the machine trusts.
	CAFile string
}

// Client talks to a cluster. It is safe for concurrent use.
type Client struct {
	endpoints    []string // base URLs without a trailing slash, at least one
	timeout      time.Duration
	adminTimeout time.Duration
	http         *http.Client
	first        atomic.Uint64 // the endpoint to ask first, modulo len(endpoints)
}

// New returns a client of a cluster. It does not connect yet, so its error is always about
// cfg, and matches ErrUsage.
func New(cfg Config) (*Client, error) {
	c := &Client{timeout: cfg.Timeout, adminTimeout: cfg.Timeout}
	for _, e := range cfg.Endpoints {
		base, err := parseEndpoint(e)
		if err != nil {
			return nil, err
		}
		c.endpoints = append(c.endpoints, base)
	}
	switch {
	case len(c.endpoints) == 0:
		return nil, usagef("Config.Endpoints names no endpoint")
	case cfg.Timeout < 0:
		return nil, usagef("Config.Timeout must not be negative")
	case cfg.Timeout == 0:
		c.timeout, c.adminTimeout = defaultTimeout, defaultAdminTimeout
	}
	transport := &http.Transport{
		// No proxy: only the connection to the node itself shows whether a write was sent.
		DialContext:           dialHeard,
		MaxIdleConnsPerHost:   idleConns,
		IdleConnTimeout:       90 * time.Second,
		TLSHandshakeTimeout:   dialTimeout,
		ExpectContinueTimeout: time.Second,
		DisableCompression:    true, // values are opaque bytes

		MaxResponseHeaderBytes: maxHeaderBytes,
	}
	if cfg.CAFile != "" {
		pool, err := readAuthorities(cfg.CAFile)
		if err != nil {
			return nil, err
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS13}
	}
	c.http = &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return c, nil
}

// Close closes idle connections. Calls in progress end by themselves, and later calls
// connect again.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// parseEndpoint returns an endpoint as a base URL.
func parseEndpoint(endpoint string) (string, error) {
	text := strings.TrimSpace(endpoint)
	if !strings.Contains(text, "://") {
		text = "http://" + text
	}
	u, err := url.Parse(strings.TrimSuffix(text, "/"))
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "" ||
		u.User != nil || u.Path != "" || u.RawQuery != "" || u.Fragment != "" {
		return "", usagef("endpoint %q is not host:port, http://host:port or https://host:port", endpoint)
	}
	return u.String(), nil
}

// readAuthorities returns the certificates in a PEM file.
func readAuthorities(file string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, usagef("Config.CAFile: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, usagef("Config.CAFile: %s holds no certificate", file)
	}
	return pool, nil
}
