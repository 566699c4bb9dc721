package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/kvorum/kvorum/cluster"
	"github.com/kvorum/kvorum/cluster/clusterprom"
	"github.com/kvorum/kvorum/fsm"
	"github.com/kvorum/kvorum/httpapi"
	"github.com/kvorum/kvorum/kv"
	"github.com/kvorum/kvorum/transport"
	"github.com/kvorum/kvorum/wal"
)

const (
	// drainTimeout is the maximum wait for requests in flight when a node stops. It is more
	// than a node's own limit for a request whose body has arrived. Together with
	// transferTimeout it is less than the 10 s after which container runtimes kill.
	drainTimeout = 5 * time.Second
	// transferTimeout is the maximum time for a transfer of leadership when a node stops.
	transferTimeout = 4 * time.Second
	// closeTimeout is the maximum time for closing the node.
	closeTimeout = 30 * time.Second
	// stdinFlag is the name of the hidden flag that ends a node together with the process
	// that started it.
	stdinFlag = "exit-on-stdin-eof"
)

// errStdinClosed is the reason for the end of a node whose standard input was closed.
var errStdinClosed = errors.New("standard input was closed")

// server is a node with its HTTP side, which answers as soon as the port listens, while the
// node still loads its data.
type server struct {
	log      *slog.Logger
	gate     *gate
	registry *prometheus.Registry
	http     *httpapi.Server
	node     *cluster.Node // nil until it is open

	// httpDone receives the error that ended the HTTP server, once.
	httpDone chan error

	stopReload func() // ends reload
	reload     sync.WaitGroup
}

// serve runs a node until ctx is cancelled or the node stops itself. It returns nil if ctx
// was cancelled, or if the node has left its cluster on request.
func serve(ctx context.Context, o serverOptions, log *slog.Logger) error {
	// Hangup signals are received from the start: one without a receiver ends the process.
	hangups := make(chan os.Signal, 1)
	if o.secure.cert != "" {
		signal.Notify(hangups, syscall.SIGHUP)
		defer signal.Stop(hangups)
	}
	if err := o.planLimits(); err != nil {
		return err
	}
	return restarting(ctx, log, func() error {
		s, err := openServer(ctx, o, hangups, log)
		if err != nil {
			if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
				log.Info("node stops while it loads", "cause", context.Cause(ctx).Error())
				return nil
			}
			return ofNewerBuild(err)
		}
		reason := s.wait(ctx)
		return errors.Join(reason, s.close(reason == nil))
	})
}

// ofNewerBuild adds what to do to an error that says that a newer version of the program
// has written what this one can't read.
func ofNewerBuild(err error) error {
	var command *fsm.VersionError
	var file *wal.VersionError
	newer := errors.As(err, &command) && (command.Version == 0 || command.Version > command.Supported) ||
		errors.As(err, &file) && file.Found > file.Supported
	if !newer {
		return err
	}
	return fmt.Errorf("%w; a newer version of kvorum has written this: start that version, or a later one, on this data directory", err)
}

// openServer binds the addresses, serves HTTP, and opens the node. It returns ctx's error if
// ctx ends first. After an error nothing is open.
func openServer(ctx context.Context, o serverOptions, hangups <-chan os.Signal, log *slog.Logger) (*server, error) {
	files, gossipKey, err := o.secure.load()
	if err != nil {
		return nil, err
	}
	bound, err := o.bind()
	if err != nil {
		return nil, err
	}
	config := o.clusterConfig(bound, files, gossipKey, log)
	if err := config.Validate(); err != nil {
		return nil, errors.Join(&usageError{err}, bound.close())
	}
	s := &server{
		log: log, gate: &gate{id: o.id}, registry: prometheus.NewRegistry(),
		httpDone: make(chan error, 1), stopReload: func() {},
	}
	if err := s.openHTTP(o); err != nil {
		return nil, errors.Join(err, bound.close())
	}
	s.serveHTTP(bound.http, files, hangups, map[string]string{
		"advertise-peer-addr": config.AdvertisePeer, "advertise-http-addr": config.AdvertiseHTTP,
	})
	o.logLimits(log)
	log.Info("node opens its data directory", "http", bound.http.Addr().String(), "data-dir", o.dataDir, "version", buildVersion())
	if err := s.openNode(ctx, config); err != nil {
		return nil, errors.Join(err, s.closeHTTP())
	}
	log.Info("node runs", "http", bound.http.Addr().String(), "peer", bound.peer.Addr().String(),
		"gossip", s.node.GossipAddr(), "version", buildVersion())
	return s, nil
}

// clusterConfig returns the node's configuration, without the fields that openNode sets.
func (o *serverOptions) clusterConfig(bound listeners, files *transport.TLSFiles, gossipKey []byte, log *slog.Logger) cluster.Config {
	config := cluster.Config{
		Name:            o.id,
		DataDir:         o.dataDir,
		PeerListener:    bound.peer,
		AdvertisePeer:   advertised(o.advertisePeer, o.peerAddr, bound.peer),
		AdvertiseHTTP:   advertised(o.advertiseHTTP, o.httpAddr, bound.http),
		GossipAddr:      o.gossipAddr,
		AdvertiseGossip: o.advertiseGossip,
		Timing:          timings[o.timing],
		GossipKey:       gossipKey,
		Descriptors:     o.descriptors,
		Memory:          o.memory,
		MaxDataBytes:    o.maxDataBytes,
		Logger:          log,
	}
	o.setLimits(&config)
	if files != nil {
		config.TLS = files.TLS()
	}
	return config
}

// openHTTP makes the HTTP side, with a metrics registry of its own.
func (s *server) openHTTP(o serverOptions) error {
	for _, c := range []prometheus.Collector{
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	} {
		if err := s.registry.Register(c); err != nil {
			return fmt.Errorf("register metrics: %w", err)
		}
	}
	var err error
	s.http, err = httpapi.New(httpapi.Config{
		Node:          s.gate,
		NodeID:        o.id,
		MaxKeyBytes:   o.maxKeyBytes,
		MaxValueBytes: o.maxValueBytes,
		MaxConns:      o.maxConns(),

		MaxInflightBytes: o.memory.Bodies,
		Metrics:          promhttp.HandlerFor(s.registry, promhttp.HandlerOpts{}),
		Registerer:       s.registry,
		Logger:           s.log,
	})
	return err
}

// serveHTTP serves l until closeHTTP, over TLS if there are files. advertised has the
// advertised addresses by flag; their hosts should be in the certificate.
func (s *server) serveHTTP(l net.Listener, files *transport.TLSFiles, hangups <-chan os.Signal, advertised map[string]string) {
	if files != nil {
		l = overTLS(l, files)
		reload, stop := context.WithCancel(context.Background())
		s.stopReload = stop
		own := newCertificates(files, s.log)
		own.checkNames(advertised)
		s.reload.Go(func() { own.run(reload, hangups) })
	}
	go func() { s.httpDone <- s.http.Serve(l) }()
}

// openNode opens the node and lets HTTP serve it.
func (s *server) openNode(ctx context.Context, config cluster.Config) error {
	config.Loading = &s.gate.loading
	node, err := cluster.Open(ctx, config)
	var invalid *kv.ValidationError
	if errors.As(err, &invalid) {
		err = &usageError{err}
	}
	if err != nil {
		return err
	}
	if err := s.registry.Register(clusterprom.New(node)); err != nil {
		return errors.Join(fmt.Errorf("register metrics: %w", err), node.Close())
	}
	s.node = node
	s.gate.open(node)
	return nil
}

// wait returns nil when the node is asked to stop, or the reason why it can't continue.
func (s *server) wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		s.log.Info("node stops", "cause", context.Cause(ctx).Error())
		return nil
	case <-s.node.Fatal():
		if err := s.node.Err(); !cluster.Left(err) {
			return ofNewerBuild(fmt.Errorf("node stopped: %w", err))
		}
		s.log.Info("node has left its cluster; it stops")
		return nil
	case err := <-s.httpDone:
		s.httpDone <- err // for close
		return err
	}
}

// close stops each part before those that it depends on. ARCHITECTURE.md, 'Shutdown', has the
// steps and their reasons.
func (s *server) close(handOver bool) error {
	serveErr := s.closeHTTP()

	// A failed transfer is no error of the stop: perhaps no other node is up.
	if handOver {
		transfer, cancel := context.WithTimeout(context.Background(), transferTimeout)
		defer cancel()
		if err := s.node.TransferLeadership(transfer); err != nil {
			s.log.Info("leadership was not handed over", "err", err)
		}
	}

	// The wait is limited because a write to a disk may hang; the process ends in any case.
	closed := make(chan error, 1)
	go func() { closed <- s.node.Close() }()
	select {
	case err := <-closed:
		return errors.Join(serveErr, err)
	case <-time.After(closeTimeout):
		return errors.Join(serveErr, fmt.Errorf("node did not close within %v", closeTimeout))
	}
}

// closeHTTP makes the node not ready, ends the HTTP side, and returns the error of the HTTP
// server if it had already ended.
func (s *server) closeHTTP() error {
	s.gate.stop()
	drain, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	if err := s.http.Shutdown(drain); err != nil {
		s.log.Warn("requests were broken off", "err", err)
	}
	err := <-s.httpDone
	s.stopReload()
	s.reload.Wait()
	return err
}

// untilEOF returns a context that is cancelled when r ends. A pipe ends when the process at
// its other end has ended, also by a crash.
func untilEOF(ctx context.Context, r io.Reader) context.Context {
	ctx, cancel := context.WithCancelCause(ctx)
	go func() { // ends with r, or with the process
		_, _ = io.Copy(io.Discard, r)
		cancel(errStdinClosed)
	}()
	return ctx
}
