package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// livePoll is the time between two questions whether a started process answers.
	livePoll = time.Millisecond
	// liveTimeout is the timeout of one such question.
	liveTimeout = 100 * time.Millisecond
)

// restarts fills a node of each version, and then kills and starts them in turn.
func (v *versus) restarts(ctx context.Context, versions []version) error {
	var contenders []contender
	for _, one := range versions {
		nodes, err := startCluster(ctx, version{one.name, one.program, one.dir + "-restart"}, 1)
		if err != nil {
			return err
		}
		defer nodes.kill()
		if err := v.fill(ctx, nodes[0]); err != nil {
			return err
		}
		if err := v.overwrite(ctx, nodes[0]); err != nil {
			return err
		}
		nodes.kill()
		contenders = append(contenders, contender{one.name, func() ([]float64, error) { return restartTurn(ctx, nodes[0]) }})
	}
	columns, err := inTurn(ctx, v.rounds, 3, contenders)
	if err != nil {
		return err
	}
	fmt.Fprintf(v.out, "A node with %d keys, values of %d bytes, %d of them put again since its snapshot, is killed and started again, %d rounds.\n",
		v.keys, v.valueBytes, v.tail(), v.rounds)
	t := sideBySide("after the start of the process", []string{"the port listens", "/livez answers", "/readyz says yes"}, columns,
		func(s float64) string { return fmt.Sprintf("%.3f s", s) })
	t.write(v.out)
	return nil
}

// tail returns the number of puts in a node's log behind its snapshot.
func (v *versus) tail() int { return v.keys / 20 }

// fill puts every key once, in no order.
func (v *versus) fill(ctx context.Context, p *process) error {
	keys := rand.New(rand.NewPCG(1, 2)).Perm(v.keys)
	return v.putKeys(ctx, p, len(keys), func(i int) int { return keys[i] })
}

// overwrite puts keys again until the node has taken another snapshot, and then tail more.
// So each version has the same amount of log behind its snapshot.
func (v *versus) overwrite(ctx context.Context, p *process) error {
	before, err := p.newestSnapshot()
	if err != nil {
		return err
	}
	step := max(1, v.tail()/4)
	for at := 0; ; at += step {
		if err := v.putKeys(ctx, p, step, func(i int) int { return (at + i) % v.keys }); err != nil {
			return err
		}
		now, err := p.newestSnapshot()
		if err != nil {
			return err
		}
		if now != before {
			return v.putKeys(ctx, p, v.tail(), func(i int) int { return i })
		}
	}
}

// newestSnapshot returns the greatest name of a finished snapshot, "" for none.
func (p *process) newestSnapshot() (string, error) {
	found, err := os.ReadDir(filepath.Join(p.dir, p.id, "snapshots"))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	newest, newestTime := "", time.Time{}
	for _, entry := range found {
		info, err := entry.Info()
		if err == nil && filepath.Ext(entry.Name()) == "" && info.ModTime().After(newestTime) {
			newest, newestTime = entry.Name(), info.ModTime()
		}
	}
	return newest, err
}

// putKeys puts n keys; key returns the key for 0 to n-1.
func (v *versus) putKeys(ctx context.Context, p *process, n int, key func(i int) int) error {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: loaders}}
	defer client.CloseIdleConnections()
	put, value := workload{method: http.MethodPut}, make([]byte, v.valueBytes)
	var next atomic.Int64
	var wg sync.WaitGroup
	errs := make([]error, loaders)
	for i := range loaders {
		wg.Go(func() {
			for k := int(next.Add(1)) - 1; k < n && errs[i] == nil; k = int(next.Add(1)) - 1 {
				errs[i] = put.ask(ctx, client, p, keyOf(key(k)), value)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// restartTurn starts the node, and returns the seconds until its port listens, until it
// answers, and until it serves. It kills the node again.
func restartTurn(ctx context.Context, p *process) ([]float64, error) {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	began := time.Now()
	if err := p.start(); err != nil {
		return nil, err
	}
	defer p.kill()
	var seconds []float64
	for _, reached := range []func() error{
		func() error {
			c, err := net.DialTimeout("tcp", p.http, liveTimeout)
			if err == nil {
				err = c.Close()
			}
			return err
		},
		func() error {
			ctx, cancel := context.WithTimeout(ctx, liveTimeout)
			defer cancel()
			return p.do(ctx, http.MethodGet, "/livez", nil)
		},
		func() error { return p.do(ctx, http.MethodGet, "/readyz", nil) },
	} {
		for err := reached(); err != nil; err = reached() {
			if ctx.Err() != nil {
				return nil, err
			}
			time.Sleep(livePoll)
		}
		seconds = append(seconds, time.Since(began).Seconds())
	}
	return seconds, nil
}
