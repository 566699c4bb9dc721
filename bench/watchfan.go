package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// fanWriters is the number of goroutines that put keys at their times.
	fanWriters = 64
	// fanKeys is the number of keys that are put.
	fanKeys = 1000
	// fanTimeout is the maximum time that watchers may need, beside that of the puts.
	fanTimeout = 5 * time.Minute
)

// fanPrefix is the prefix that is watched.
const fanPrefix = "fan/"

// fanServer is a server whose keys are watched.
type fanServer interface {
	put(ctx context.Context, key string, value []byte) error
	// follow starts watchers of fanPrefix, and returns when all have begun. They add what they
	// receive to events, until ctx ends.
	follow(ctx context.Context, watchers int, events *atomic.Int64) error
	// cpuTime returns the processor time that the server has used.
	cpuTime() (time.Duration, error)
	stop()
}

// fanOut measures watchers of one prefix, of Kvorum and of etcd. Each is one process, and its
// clients are in this one.
func (w *watches) fanOut(ctx context.Context, dir string) error {
	program, err := buildProgram(ctx, dir)
	if err != nil {
		return err
	}
	if w.etcd == "" {
		if w.etcd, err = buildEtcd(ctx, dir); err != nil {
			return err
		}
	}
	var contenders []contender
	add := func(name string, start func() (fanServer, error)) {
		contenders = append(contenders, contender{name, func() ([]float64, error) {
			s, err := start()
			if err != nil {
				return nil, err
			}
			defer s.stop()
			return w.fanTurn(ctx, s)
		}})
	}
	turn := 0 // of all contenders: each has a directory of its own
	newDir := func() string {
		turn++
		return filepath.Join(dir, fmt.Sprintf("fan-%d", turn))
	}
	add("Kvorum", func() (fanServer, error) { return startKvorumFan(ctx, program, newDir()) })
	add("etcd, a connection for each", func() (fanServer, error) { return startEtcdFan(ctx, w.etcd, newDir(), w.watchers) })
	add("etcd, one connection", func() (fanServer, error) { return startEtcdFan(ctx, w.etcd, newDir(), 1) })
	columns, err := inTurn(ctx, w.rounds, 3, contenders)
	if err != nil {
		return err
	}
	fmt.Fprintf(w.out, "\nOne process of each; %d watchers of one prefix, %d puts a second for %v, values of 100 bytes, %d rounds; processor time of the server alone.\n",
		w.watchers, w.rate, w.duration, w.rounds)
	t := table{head: []string{"server", "processor time of an event", "Kvorum's, of it", "processors used", "events a second, all watchers"}}
	for i, c := range contenders {
		cost := columns[0][i].values
		least, most := spread(columns[0][0].values, cost)
		t.add(c.name, took(time.Duration(median(cost))), fmt.Sprintf("%.2f (%.2f to %.2f)", ratio(columns[0][0].values, cost), least, most),
			fmt.Sprintf("%.2f", median(columns[1][i].values)), rate(median(columns[2][i].values)))
	}
	t.write(w.out)
	return nil
}

// fanTurn puts keys at the wanted rate, and waits until all watchers have all of them. It
// returns the nanoseconds of the server's processor time for an event, the processors that it
// used meanwhile, and the events that the watchers received in a second.
func (w *watches) fanTurn(ctx context.Context, s fanServer) ([]float64, error) {
	ctx, cancel := context.WithTimeout(ctx, w.duration+fanTimeout)
	defer cancel()
	var events atomic.Int64
	if err := s.follow(ctx, w.watchers, &events); err != nil {
		return nil, err
	}
	events.Store(0)
	before, err := s.cpuTime()
	if err != nil {
		return nil, err
	}
	value := bytes.Repeat([]byte("v"), 100) // text, which JSON has as it is
	puts, began := int64(w.duration.Seconds()*float64(w.rate)), time.Now()
	if err := paced(puts, w.rate, func(i int64) error {
		for { // an overloaded server may not answer in time
			err := s.put(ctx, fmt.Sprintf("%s%04d", fanPrefix, i%fanKeys), value)
			if err == nil || ctx.Err() != nil {
				return err
			}
		}
	}); err != nil {
		return nil, err
	}
	all := puts * int64(w.watchers) // or more, if a put was made twice
	for events.Load() < all {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("%d of %d events arrived: %w", events.Load(), all, err)
		}
		time.Sleep(time.Millisecond)
	}
	elapsed, got := time.Since(began), float64(events.Load())
	after, err := s.cpuTime()
	return []float64{float64(after-before) / got, float64(after-before) / float64(elapsed), got / elapsed.Seconds()}, err
}

// paced calls do n times, at a rate, or as fast as fanWriters goroutines can.
func paced(n int64, perSecond int, do func(i int64) error) error {
	began := time.Now()
	var next atomic.Int64
	var wg sync.WaitGroup
	errs := make([]error, fanWriters)
	for g := range errs {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < n && errs[g] == nil; i = next.Add(1) - 1 {
				time.Sleep(time.Until(began.Add(time.Duration(i) * time.Second / time.Duration(perSecond))))
				errs[g] = do(i)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// kvorumFan is a node whose watchers are streams of JSON lines, each with a connection.
type kvorumFan struct {
	*process
	client *http.Client // of puts
}

func startKvorumFan(ctx context.Context, program, dir string) (fanServer, error) {
	nodes, err := startCluster(ctx, version{"kvorum", program, dir}, 1)
	if err != nil {
		return nil, err
	}
	return &kvorumFan{nodes[0], &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: fanWriters}}}, nil
}

func (k *kvorumFan) stop() {
	k.client.CloseIdleConnections()
	k.kill()
}

func (k *kvorumFan) put(ctx context.Context, key string, value []byte) error {
	return workload{method: http.MethodPut}.ask(ctx, k.client, k.process, key, value)
}

func (k *kvorumFan) follow(ctx context.Context, watchers int, events *atomic.Int64) error {
	for range watchers {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+k.http+"/watch?progress=1h&prefix="+fanPrefix, nil)
		if err != nil {
			return err
		}
		transport := &http.Transport{DisableCompression: true} // a connection of its own
		resp, err := transport.RoundTrip(req)
		if err != nil {
			return err
		}
		if resp.StatusCode != http.StatusOK {
			return errors.New(resp.Status)
		}
		started := make(chan error, 1)
		go func() {
			defer transport.CloseIdleConnections()
			defer resp.Body.Close()
			countLines(resp.Body, started, events)
		}()
		if err := <-started; err != nil {
			return err
		}
	}
	return nil
}

// countLines adds the lines of a watch to events: each is one event, because each put has a
// revision. The first line says that the watch has begun.
func countLines(r io.Reader, started chan<- error, events *atomic.Int64) {
	buffer := make([]byte, 32<<10)
	for first := true; ; {
		n, err := r.Read(buffer)
		lines := bytes.Count(buffer[:n], []byte("\n"))
		if first && (lines > 0 || err != nil) {
			started <- err
			lines, first = lines-1, false
		}
		events.Add(int64(lines))
		if err != nil {
			return
		}
	}
}
