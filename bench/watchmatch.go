package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kvorum/kvorum/cluster"
	"github.com/kvorum/kvorum/kv"
)

// matchWriters is the number of goroutines that put keys at once while processor time is
// measured.
const matchWriters = 64

// matching measures puts to the leader of three nodes, on which there are watchers of
// distinct prefixes: puts of keys that one of them watches, and of keys that none watches.
func (w *watches) matching(ctx context.Context, dir string) error {
	nodes, err := openNodes(ctx, dir, 3)
	defer func() {
		for _, n := range nodes {
			_ = n.Close() // the figures do not depend on it
		}
	}()
	if err != nil {
		return err
	}
	leader, err := leaderOf(nodes)
	if err != nil {
		return err
	}
	var events atomic.Int64
	var running sync.WaitGroup
	watching, cancel := context.WithCancel(ctx)
	defer running.Wait()
	defer cancel()
	for i := range w.prefixes {
		watch, err := leader.Watch(ctx, kv.WatchOptions{Span: kv.Prefix(watchedPrefix(i))})
		if err != nil {
			return err
		}
		running.Go(func() {
			defer func() { _ = watch.Close() }() // always nil
			for {
				if _, err := watch.Next(watching); err != nil {
					return
				}
				events.Add(1)
			}
		})
	}
	contenders := []contender{
		{"one matches", func() ([]float64, error) { return w.matchTurn(ctx, leader, &events, "") }},
		{"none matches", func() ([]float64, error) { return w.matchTurn(ctx, leader, &events, "un") }},
	}
	columns, err := inTurn(ctx, w.rounds, 2, contenders)
	if err != nil {
		return err
	}
	fmt.Fprintf(w.out, "\nThree nodes in one process, %d watchers of distinct prefixes on the leader, values of 100 bytes, %d rounds.\n", w.prefixes, w.rounds)
	t := sideBySide("put to the leader", []string{
		"time, 1 at once", fmt.Sprintf("processor time of all nodes and watchers, %d at once", matchWriters),
	}, columns, func(ns float64) string { return took(time.Duration(ns)) })
	t.write(w.out)
	return nil
}

// watchedPrefix returns the prefix of a watcher.
func watchedPrefix(i int) string { return fmt.Sprintf("watched/%06d/", i) }

// matchTurn puts keys, whose watchers' prefixes follow before. It returns the nanoseconds of a
// put by one goroutine, and the nanoseconds of processor time of a put by many, up to the last
// event. It fails if the number of events is not what the keys ask for.
func (w *watches) matchTurn(ctx context.Context, n *cluster.Node, events *atomic.Int64, before string) ([]float64, error) {
	value := make([]byte, 100)
	began := events.Load()
	var calls atomic.Int64
	delivered := func() error { // each put is a revision of its own
		want := calls.Load()
		if before != "" {
			want = 0
		}
		for deadline := time.Now().Add(time.Minute); events.Load()-began < want && time.Now().Before(deadline); {
			time.Sleep(time.Millisecond)
		}
		if got := events.Load() - began; got != want {
			return fmt.Errorf("%d puts were %d events, want %d", calls.Load(), got, want)
		}
		return nil
	}
	put := func(r *rand.Rand) error {
		calls.Add(1)
		_, err := n.Do(ctx, kv.Put(before+watchedPrefix(r.IntN(w.prefixes))+"key", value))
		return err
	}
	perSecond, err := hammer(1, w.duration, put)
	if err != nil {
		return nil, err
	}
	if err := delivered(); err != nil {
		return nil, err
	}
	first := calls.Load()
	cpu, err := processTime()
	if err != nil {
		return nil, err
	}
	if _, err := hammer(matchWriters, w.duration, put); err != nil {
		return nil, err
	}
	if err := delivered(); err != nil {
		return nil, err
	}
	used, err := processTime()
	if err != nil {
		return nil, err
	}
	return []float64{1e9 / perSecond, float64(used-cpu) / float64(calls.Load()-first)}, nil
}

// openNodes opens a cluster of n nodes below dir, and waits until they serve.
func openNodes(ctx context.Context, dir string, n int) ([]*cluster.Node, error) {
	addrs, err := freeAddrs(3 * n)
	if err != nil {
		return nil, err
	}
	nodes, errs := make([]*cluster.Node, n), make([]error, n)
	var opening sync.WaitGroup
	for i := range n {
		opening.Go(func() {
			name := fmt.Sprintf("n%d", i+1)
			nodes[i], errs[i] = openNode(ctx, cluster.Config{
				Name: name, DataDir: filepath.Join(dir, name), BootstrapExpect: n, Join: addrs[2*n:],
				AdvertisePeer: addrs[i], AdvertiseHTTP: addrs[n+i], GossipAddr: addrs[2*n+i],
			})
		})
	}
	opening.Wait()
	if err := errors.Join(errs...); err != nil {
		for _, node := range nodes {
			if node != nil {
				err = errors.Join(err, node.Close())
			}
		}
		return nil, err
	}
	return nodes, nil
}

// leaderOf returns the node that leads.
func leaderOf(nodes []*cluster.Node) (*cluster.Node, error) {
	for _, n := range nodes {
		if n.Status().Role == "leader" {
			return n, nil
		}
	}
	return nil, errors.New("nobody leads")
}
