package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"path/filepath"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kvorum/kvorum/cluster"
	"github.com/kvorum/kvorum/kv"
)

const (
	// loaders is the number of clients that load a node: the maximum number of writes in
	// one log entry.
	loaders = 1024
	// readyPoll is the time between two questions whether a node serves.
	readyPoll = 2 * time.Millisecond
	// readyTimeout is the maximum wait until it serves.
	readyTimeout = 2 * time.Minute
)

// nodeConfig returns the configuration of a cluster of one node below dir.
func nodeConfig(dir string) (cluster.Config, error) {
	addrs, err := freeAddrs(3)
	return cluster.Config{
		Name: "n1", DataDir: filepath.Join(dir, "n1"), BootstrapExpect: 1,
		AdvertisePeer: addrs[0], AdvertiseHTTP: addrs[1], GossipAddr: addrs[2],
	}, err
}

// freeAddrs returns n addresses of this machine on which no process listens.
func freeAddrs(n int) ([]string, error) {
	addrs := make([]string, n)
	for i := range addrs {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return addrs, err
		}
		defer l.Close() // after all are found, so that they differ
		addrs[i] = l.Addr().String()
	}
	return addrs, nil
}

// openNode opens a node and waits until it serves.
func openNode(ctx context.Context, cfg cluster.Config) (*cluster.Node, error) {
	l, err := net.Listen("tcp", cfg.AdvertisePeer)
	if err != nil {
		return nil, err
	}
	cfg.PeerListener = l
	n, err := cluster.Open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	deadline := time.Now().Add(readyTimeout)
	for err = n.Ready(); err != nil; err = n.Ready() {
		if ctx.Err() != nil || time.Now().After(deadline) {
			return nil, errors.Join(fmt.Errorf("node is not ready: %w", err), n.Close())
		}
		time.Sleep(readyPoll)
	}
	return n, nil
}

// load puts n keys into a node, in no order, and returns the rate in words.
func load(ctx context.Context, cfg cluster.Config, n, valueBytes int) (_ string, err error) {
	node, err := openNode(ctx, cfg)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, node.Close()) }()
	keys := rand.New(rand.NewPCG(1, 2)).Perm(n)
	var next atomic.Int64
	var wg sync.WaitGroup
	errs := make([]error, loaders)
	began := time.Now()
	for i := range loaders {
		wg.Go(func() {
			for k := int(next.Add(1)) - 1; k < n && errs[i] == nil; k = int(next.Add(1)) - 1 {
				_, errs[i] = node.Do(ctx, kv.Put(keyOf(keys[k]), make([]byte, valueBytes)))
			}
		})
	}
	wg.Wait()
	return rate(float64(n) / time.Since(began).Seconds()), errors.Join(errs...)
}

// restartTimes opens a node again and again and returns the seconds until it serves.
func restartTimes(ctx context.Context, cfg cluster.Config, rounds int) ([]float64, error) {
	var times []float64
	for range rounds {
		debug.FreeOSMemory() // a new process has no garbage
		began := time.Now()
		n, err := openNode(ctx, cfg)
		if err != nil {
			return nil, err
		}
		times = append(times, time.Since(began).Seconds())
		if err := n.Close(); err != nil {
			return nil, err
		}
	}
	return times, nil
}
