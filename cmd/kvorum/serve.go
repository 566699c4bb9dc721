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
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/kvorum/kvorum/cluster"
	"github.com/kvorum/kvorum/cluster/clusterprom"
	"github.com/kvorum/kvorum/httpapi"
)

const (
	// drainTimeout bounds the wait for requests in flight when a node stops.
	drainTimeout = 10 * time.Second
	// transferTimeout bounds handing leadership over when a node stops.
	transferTimeout = 5 * time.Second
	// closeTimeout bounds closing the node.
	closeTimeout = 30 * time.Second
	// stdinFlag names the hidden flag that binds a node's life to its starter's.
	stdinFlag = "exit-on-stdin-eof"
)

// errStdinClosed ends a node whose starter is gone.
var errStdinClosed = errors.New("standard input was closed")

// server is a node with its HTTP side.
type server struct {
	log  *slog.Logger
	node *cluster.Node
	http *httpapi.Server

	// stopping makes the node say that it is not ready.
	stopping atomic.Bool
	// httpDone receives what ended the HTTP server, once.
	httpDone chan error

	stopReload func() // ends reload
	reload     sync.WaitGroup
}

// serve runs a node until ctx is cancelled or the node stops itself. It returns
// nil when it was told to stop, or has left its cluster as it was told to.
func serve(ctx context.Context, o serverOptions, log *slog.Logger) error {
	// From the very start: a signal that nobody takes ends the process.
	hangups := make(chan os.Signal, 1)
	if o.secure.cert != "" {
		signal.Notify(hangups, syscall.SIGHUP)
		defer signal.Stop(hangups)
	}
	return restarting(log, func() error {
		s, err := openServer(ctx, o, hangups, log)
		if err != nil {
			return err
		}
		reason := s.wait(ctx)
		return errors.Join(reason, s.close(reason == nil))
	})
}

// restarting calls run anew for as long as that corrects what ended it.
func restarting(log *slog.Logger, run func() error) error {
	for {
		err := run()
		if !errors.Is(err, cluster.ErrRestart) {
			return err
		}
		log.Warn("node is restarted")
	}
}

// openServer binds the HTTP and the peer address, and tries the gossip address,
// first, so that one that is taken is reported before the data directory is touched.
func openServer(ctx context.Context, o serverOptions, hangups <-chan os.Signal, log *slog.Logger) (*server, error) {
	files, gossipKey, err := o.secure.load()
	if err != nil {
		return nil, err
	}
	httpListener, err := listen("HTTP", o.httpAddr)
	if err != nil {
		return nil, err
	}
	peerListener, err := listen("peer", o.peerAddr)
	if err != nil {
		return nil, errors.Join(err, httpListener.Close())
	}
	if err := tryGossip(o.gossipAddr); err != nil {
		return nil, errors.Join(err, httpListener.Close(), peerListener.Close())
	}
	config := cluster.Config{
		Name:            o.id,
		DataDir:         o.dataDir,
		PeerListener:    peerListener,
		AdvertisePeer:   advertised(o.advertisePeer, o.peerAddr, peerListener),
		AdvertiseHTTP:   advertised(o.advertiseHTTP, o.httpAddr, httpListener),
		GossipAddr:      o.gossipAddr,
		AdvertiseGossip: o.advertiseGossip,
		BootstrapExpect: o.bootstrapExpect,
		Join:            o.join,
		NonVoter:        o.nonVoter,
		DeadServerAfter: o.deadServerAfter,
		Timing:          timings[o.timing],
		MaxKeyBytes:     o.maxKeyBytes,
		MaxValueBytes:   o.maxValueBytes,
		GossipKey:       gossipKey,
		BallastBytes:    o.ballastBytes,
		Logger:          log,
		PipelineWindow:  o.pipelineWindow,

		SnapshotBytesPerSecond: o.snapshotBytesPerSecond,
	}
	if files != nil {
		config.TLS = files.TLS()
	}
	node, err := cluster.Open(ctx, config)
	if err != nil {
		var invalid *cluster.ValidationError
		if errors.As(err, &invalid) {
			err = &usageError{err}
		}
		return nil, errors.Join(err, httpListener.Close())
	}
	s := &server{log: log, node: node, httpDone: make(chan error, 1), stopReload: func() {}}
	if err := s.openHTTP(o); err != nil {
		return nil, errors.Join(err, httpListener.Close(), node.Close())
	}
	serving := httpListener
	if files != nil {
		serving = overTLS(httpListener, files)
		reload, stop := context.WithCancel(context.Background())
		s.stopReload = stop
		s.reload.Go(func() { reloadOnHangup(reload, hangups, files, log) })
	}
	go func() { s.httpDone <- s.http.Serve(serving) }()
	log.Info("node runs", "http", httpListener.Addr().String(), "peer", peerListener.Addr().String(),
		"gossip", node.GossipAddr(), "version", buildVersion())
	return s, nil
}

// openHTTP makes the HTTP side, with a metrics registry of its own.
func (s *server) openHTTP(o serverOptions) error {
	registry := prometheus.NewRegistry()
	for _, c := range []prometheus.Collector{
		clusterprom.New(s.node),
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	} {
		if err := registry.Register(c); err != nil {
			return fmt.Errorf("register metrics: %w", err)
		}
	}
	var err error
	s.http, err = httpapi.New(httpapi.Config{
		Node:          servedNode{s.node, &s.stopping},
		NodeID:        o.id,
		MaxKeyBytes:   o.maxKeyBytes,
		MaxValueBytes: o.maxValueBytes,
		Metrics:       promhttp.HandlerFor(registry, promhttp.HandlerOpts{}),
		Registerer:    registry,
		Logger:        s.log,
	})
	return err
}

// wait returns nil when the node is to stop, or the reason why it can't go on.
func (s *server) wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		s.log.Info("node stops", "cause", context.Cause(ctx).Error())
		return nil
	case <-s.node.Fatal():
		if err := s.node.Err(); !cluster.Left(err) {
			return fmt.Errorf("node stopped: %w", err)
		}
		s.log.Info("node has left its cluster; it stops")
		return nil
	case err := <-s.httpDone:
		s.httpDone <- err // for close
		return err
	}
}

// close stops what depends on others before what it depends on.
func (s *server) close(handOver bool) error {
	// Readiness first: probes on open connections see it while requests drain.
	s.stopping.Store(true)

	// HTTP next, while the node can still answer: no new connections, and
	// requests in flight get their outcome rather than a broken connection.
	drain, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	if err := s.http.Shutdown(drain); err != nil {
		s.log.Warn("requests were broken off", "err", err)
	}
	serveErr := <-s.httpDone
	s.stopReload()
	s.reload.Wait()

	// Leadership after that, as the drained requests needed it, and before the
	// node goes, so that the others need not wait for an election's time-out.
	// That it fails where no other node is up is no error of the stop.
	if handOver {
		transfer, cancel := context.WithTimeout(context.Background(), transferTimeout)
		defer cancel()
		if err := s.node.TransferLeadership(transfer); err != nil {
			s.log.Info("leadership was not handed over", "err", err)
		}
	}

	// The node last: gossip, consensus, peers, files, and the directory's lock. A
	// write to a disk that hangs can't be waited for; the process ends all the same.
	closed := make(chan error, 1)
	go func() { closed <- s.node.Close() }()
	select {
	case err := <-closed:
		return errors.Join(serveErr, err)
	case <-time.After(closeTimeout):
		return errors.Join(serveErr, fmt.Errorf("node did not close within %v", closeTimeout))
	}
}

// servedNode is a node that is not ready once it is stopping.
type servedNode struct {
	*cluster.Node
	stopping *atomic.Bool
}

// Ready implements httpapi.Cluster.
func (n servedNode) Ready() error {
	if n.stopping.Load() {
		return cluster.ErrClosed
	}
	return n.Node.Ready()
}

var _ httpapi.Node = servedNode{}

// listen binds a TCP address; what names it in errors.
func listen(what, addr string) (net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen on %s address %s: %w", what, addr, netReason(err))
	}
	return l, nil
}

// tryGossip binds a gossip address, TCP and UDP, for a moment: gossip itself binds
// it once the data directory is open.
func tryGossip(addr string) error {
	l, err := listen("gossip", addr)
	if err != nil {
		return err
	}
	_ = l.Close() // nothing was accepted
	u, err := net.ListenPacket("udp", addr)
	if err != nil {
		return fmt.Errorf("listen on gossip address %s (UDP): %w", addr, netReason(err))
	}
	return u.Close()
}

// advertised returns the address that others reach: the one that was given, or
// the bound one with the host's name as it was given.
func advertised(given, bind string, l net.Listener) string {
	if given != "" {
		return given
	}
	host, _, err := net.SplitHostPort(bind)
	if err != nil {
		return l.Addr().String()
	}
	_, port, _ := net.SplitHostPort(l.Addr().String()) // a TCP listener's address has a port
	return net.JoinHostPort(host, port)
}

// untilEOF returns a context that is cancelled when r ends, which a pipe does
// when the process at its other end is gone, however that ended.
func untilEOF(ctx context.Context, r io.Reader) context.Context {
	ctx, cancel := context.WithCancelCause(ctx)
	go func() { // ends with r, or with the process
		_, _ = io.Copy(io.Discard, r)
		cancel(errStdinClosed)
	}()
	return ctx
}
