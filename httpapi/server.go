package httpapi

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/kvorum/kvorum/kv"
)

// Node carries out the requests of a Server. The Server does not modify the values that it
// returns.
type Node interface {
	kv.Engine
	kv.Leases
	kv.Admin
}

// Server is the HTTP side of a node.
type Server struct {
	cfg     Config
	node    Node
	logger  *slog.Logger
	http    *http.Server
	conns   *connLimit
	budget  *budget
	metrics *metrics
	// lingering limits the connections from which the server reads after their answers.
	lingering *lingering
	origins   *http.CrossOriginProtection
	answers   answers
	streams   streams

	// stopping ends when Shutdown begins; stop ends it.
	stopping context.Context
	stop     context.CancelFunc
	// ctx is the root of every request's context. cancel ends it, and with it
	// the requests in flight, when draining takes too long.
	ctx    context.Context
	cancel context.CancelFunc
}

// New returns a Server. It returns the errors of [Config.Validate], and those
// of cfg.Registerer.
func New(cfg Config) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("http configuration: %w", err)
	}
	cfg = cfg.withDefaults()
	s := &Server{
		cfg:     cfg,
		node:    cfg.Node,
		logger:  cfg.Logger,
		conns:   newConnLimit(cfg.MaxConns),
		budget:  newBudget(cfg.MaxInflightRequests, max(cfg.MaxInflightBytes, largestBody(cfg)+1)), // see bodyMemory
		origins: http.NewCrossOriginProtection(),
		streams: streams{limit: int64(cfg.MaxStreams)},
	}
	s.lingering = newLingering(cfg.MaxConns, cfg.MaxValueBytes)
	m, err := newMetrics(cfg.Registerer, s.budget, s.conns)
	if err != nil {
		return nil, fmt.Errorf("http metrics: %w", err)
	}
	s.metrics = m
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.stopping, s.stop = context.WithCancel(s.ctx)

	// Only HTTP/1: another protocol would be negotiated by TLS, which this server does not
	// terminate. ReadTimeout and WriteTimeout would limit whole bodies and streams. Bodies
	// and answers have their own deadlines instead, which move with their progress.
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	s.http = &http.Server{
		Handler:                      s.middleware(s.routes()),
		Protocols:                    &protocols,
		DisableGeneralOptionsHandler: true,
		ReadHeaderTimeout:            cfg.ReadHeaderTimeout,
		IdleTimeout:                  cfg.IdleTimeout,
		MaxHeaderBytes:               maxHeaderBytes,
		BaseContext:                  func(net.Listener) context.Context { return s.ctx },
		ConnContext:                  withConn,
		ConnState:                    s.conns.stateChanged,
		ErrorLog:                     errorLog(cfg.Logger),
	}
	return s, nil
}

// maxKey returns the maximum length of a key: the node's limit, or, for keys from before that
// became less, the configured one. The node refuses writes above its limit.
func (s *Server) maxKey() int { return max(s.node.Limits().MaxKeyBytes, s.cfg.MaxKeyBytes) }

// maxValue returns the maximum length of a value: the node's limit, or the configured one while
// the node has none.
func (s *Server) maxValue() int { return cmp.Or(s.node.Limits().MaxValueBytes, s.cfg.MaxValueBytes) }

// largestBody returns the maximum length of a body for which there must be room.
func largestBody(cfg Config) int64 { return max(int64(cfg.MaxValueBytes), maxAdminBody) }

// Serve accepts connections from l, which it closes, until Shutdown is called. Then it
// returns nil at once, while Shutdown still waits for requests. If the listener fails, it
// returns the listener's error.
func (s *Server) Serve(l net.Listener) error {
	err := s.http.Serve(s.conns.listen(l))
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serve http: %w", err)
}

// firstRequestGrace is the maximum time that Shutdown waits for the first request of a
// connection. net/http would wait for 5 s.
const firstRequestGrace = 500 * time.Millisecond

// Shutdown stops accepting connections, and waits for the requests in flight. An answer to
// a read, such as a list, is broken off after a second, so that no client takes it for a
// whole one. Watches end at once, with a message that says so. The rests of refused requests are not read for longer either. A connection
// that has sent no request is closed after half a second. When ctx ends first, Shutdown
// cancels the requests, closes their connections, and returns ctx's error. It returns when
// every connection's goroutine has ended.
func (s *Server) Shutdown(ctx context.Context) error {
	defer s.cancel()
	s.stop()
	s.answers.stop()
	s.lingering.stop()
	closeFresh := time.AfterFunc(firstRequestGrace, s.conns.closeFresh)
	defer closeFresh.Stop()
	err := s.http.Shutdown(ctx)
	if err != nil {
		s.cancel()
		err = errors.Join(fmt.Errorf("drain http requests: %w", err), s.http.Close())
	}
	s.conns.wait()
	return err
}
