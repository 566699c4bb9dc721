package transport

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"sync/atomic"
)

// TLS makes all connections between nodes encrypted and mutually authenticated,
// by TLS 1.3. Each function is asked anew for each connection, so that
// certificates can be replaced while the node runs; connections that are open
// stay. The transport changes only copies of what it is given.
type TLS struct {
	// Server returns the node's certificate, and in ClientCAs who may sign those of
	// peers. A certificate is always demanded.
	Server func() (*tls.Config, error)
	// Client returns the node's certificate, and in RootCAs who may sign those of
	// peers. The peer's must be valid for ServerName, or if that is empty, for the
	// host that is dialed.
	Client func() (*tls.Config, error)
}

func (s *TLS) validate() error {
	if s != nil && (s.Server == nil || s.Client == nil) {
		return errors.New("transport TLS needs both of its functions")
	}
	return nil
}

// secureServer makes an accepted connection one of TLS, if that is configured.
// The caller has set a deadline.
func (t *Transport) secureServer(c *conn) error {
	if t.cfg.TLS == nil {
		return nil
	}
	cfg, err := t.cfg.TLS.Server()
	if err != nil {
		return refusedTLS(err)
	}
	cfg = cfg.Clone()
	cfg.MinVersion = tls.VersionTLS13
	cfg.ClientAuth = tls.RequireAndVerifyClientCert
	cfg.SessionTicketsDisabled = true // certificates are checked each time
	return c.secure(tls.Server(c.Conn, cfg))
}

// secureClient makes a dialed connection one of TLS, if that is configured. The
// caller closes the connection when its time is up.
func (t *Transport) secureClient(c *conn, addr string) error {
	if t.cfg.TLS == nil {
		return nil
	}
	cfg, err := t.cfg.TLS.Client()
	if err != nil {
		return refusedTLS(err)
	}
	cfg = cfg.Clone()
	cfg.MinVersion = tls.VersionTLS13
	cfg.InsecureSkipVerify = false
	if cfg.ServerName == "" {
		host, _, err := net.SplitHostPort(addr)
		if err != nil {
			return refusedTLS(err)
		}
		cfg.ServerName = host
	}
	return c.secure(tls.Client(c.Conn, cfg))
}

func refusedTLS(err error) error {
	return &RefusedError{Reason: RefusedTLS, Message: err.Error()}
}

// secure replaces what the connection reads from and writes to. Nobody else uses
// the connection yet, except to close it.
func (c *conn) secure(to *tls.Conn) error {
	if err := c.raw.SetWriteDeadline(c.writeDeadline()); err != nil {
		return err
	}
	if err := to.Handshake(); err != nil {
		return refusedTLS(err)
	}
	c.Conn = to
	return nil
}

// TLSFiles are a certificate, its key, and the authorities that sign the
// certificates of all nodes, in PEM files. It is safe for concurrent use.
type TLSFiles struct {
	cert, key, ca string
	loaded        atomic.Pointer[tls.Config]
}

// LoadTLSFiles reads the three files.
func LoadTLSFiles(cert, key, ca string) (*TLSFiles, error) {
	f := &TLSFiles{cert: cert, key: key, ca: ca}
	return f, f.Reload()
}

// Reload reads the files anew. After an error, what was read before stays in
// use.
func (f *TLSFiles) Reload() error {
	pair, err := tls.LoadX509KeyPair(f.cert, f.key)
	if err != nil {
		return fmt.Errorf("load certificate %s and key %s: %w", f.cert, f.key, err)
	}
	pem, err := os.ReadFile(f.ca)
	if err != nil {
		return fmt.Errorf("load certificate authorities: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return fmt.Errorf("load certificate authorities: %s holds no certificate", f.ca)
	}
	f.loaded.Store(&tls.Config{
		Certificates: []tls.Certificate{pair}, ClientCAs: pool, RootCAs: pool, MinVersion: tls.VersionTLS13,
	})
	return nil
}

// TLS returns the configuration for a Transport, which follows Reload.
func (f *TLSFiles) TLS() *TLS {
	get := func() (*tls.Config, error) { return f.loaded.Load(), nil }
	return &TLS{Server: get, Client: get}
}
