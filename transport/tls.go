package transport

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"
)

// TLS makes all connections between nodes encrypted and mutually authenticated,
// by TLS 1.3. Server and Client are asked again for each connection, so that
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
	// Ends returns when the node's certificate, or one that it depends on, ends; zero
	// is unknown. Nil is never asked.
	Ends func() time.Time
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

// refusedTLS says which side refused, why, and what the certificate is that was
// not accepted. The peer's id is not known yet.
func refusedTLS(err error) error {
	var theirs *tls.CertificateVerificationError
	switch {
	case isAlert(err):
		return &RefusedError{Reason: RefusedTLS, Remote: true,
			Message: fmt.Sprintf("it accepts no certificate or connection of this node: %v; its log says more", err)}
	case errors.As(err, &theirs) && len(theirs.UnverifiedCertificates) > 0:
		return &RefusedError{Reason: RefusedTLS,
			Message: fmt.Sprintf("its certificate %s is not accepted: %v", describe(theirs.UnverifiedCertificates[0]), theirs.Err)}
	}
	return &RefusedError{Reason: RefusedTLS, Message: err.Error()}
}

// isAlert reports whether err is a TLS alert that the peer sent.
func isAlert(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "remote error"
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
