package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
)

const (
	// livePoll is how often a process that was started is asked whether it answers.
	livePoll = time.Millisecond
	// liveTimeout bounds one such request.
	liveTimeout = 100 * time.Millisecond
)

// against measures this version of the program beside another one's binary.
type against struct {
	dir        string
	rounds     int
	clients    []int
	valueBytes int
	duration   time.Duration // of one measurement of puts
	keys       int           // in the node that is restarted
	program    string        // the other version
	out        io.Writer
}

func newAgainstCommand() *cobra.Command {
	var a against
	cmd := &cobra.Command{
		Use:   "against BINARY",
		Short: "Measure puts and restarts beside another version's binary",
		Args:  cobra.ExactArgs(1),
	}
	cmd.Flags().StringVar(&a.dir, "dir", "", "directory on the disk to measure (default the one for temporary files)")
	cmd.Flags().IntVar(&a.rounds, "rounds", 9, "turns of each version")
	cmd.Flags().IntSliceVar(&a.clients, "clients", []int{1, 64, 256}, "clients that put, one after the other each; 0 leaves puts out")
	cmd.Flags().IntVar(&a.valueBytes, "value-bytes", 100, "size of a value")
	cmd.Flags().DurationVar(&a.duration, "duration", 3*time.Second, "how long a measurement of puts takes")
	cmd.Flags().IntVar(&a.keys, "keys", 2_000_000, "keys in the node that is restarted; 0 leaves restarts out")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		a.out = cmd.OutOrStdout()
		path, err := filepath.Abs(args[0])
		if err != nil {
			return err
		}
		a.program = path
		return withDir(a.dir, func(dir string) error { return a.run(cmd.Context(), dir) })
	}
	return cmd
}

// version is one of the two programs, and the directory for its data.
type version struct{ name, program, dir string }

// run builds this version and prints both tables.
func (a *against) run(ctx context.Context, dir string) error {
	if err := describe(a.out, "Beside another version", dir); err != nil {
		return err
	}
	program, err := buildProgram(ctx, dir)
	if err != nil {
		return err
	}
	versions := []version{
		{"this version", program, filepath.Join(dir, "this")},
		{filepath.Base(a.program), a.program, filepath.Join(dir, "other")},
	}
	if len(a.clients) > 0 && a.clients[0] > 0 {
		if err := a.puts(ctx, versions); err != nil {
			return fmt.Errorf("puts: %w", err)
		}
	}
	if a.keys > 0 {
		if err := a.restarts(ctx, versions); err != nil {
			return fmt.Errorf("restarts: %w", err)
		}
	}
	return nil
}

// puts has clusters of three of both versions run, and writes to each in turn.
func (a *against) puts(ctx context.Context, versions []version) error {
	var contenders []contender
	for _, v := range versions {
		nodes, err := startCluster(ctx, v, 3)
		if err != nil {
			return err
		}
		defer nodes.kill()
		contenders = append(contenders, contender{v.name, func() ([]float64, error) { return a.putTurn(ctx, nodes) }})
	}
	columns, err := inTurn(ctx, a.rounds, 2*len(a.clients), contenders)
	if err != nil {
		return err
	}
	var titles []string
	for _, n := range a.clients {
		titles = append(titles, fmt.Sprintf("%d clients", n))
	}
	fmt.Fprintf(a.out, "Clusters of three processes over HTTP, values of %d bytes, %d rounds.\n", a.valueBytes, a.rounds)
	rates := compare("puts", titles, columns[:len(titles)])
	rates.write(a.out)
	costs := quotients("processor time of all three for a put", titles, columns[len(titles):], func(ns float64) string { return took(time.Duration(ns)) })
	costs.write(a.out)
	return nil
}

// startCluster runs n nodes of a version, and returns when they serve.
func startCluster(ctx context.Context, v version, n int) (processes, error) {
	if err := os.MkdirAll(v.dir, 0o700); err != nil {
		return nil, err
	}
	nodes, err := newProcesses(v.program, v.dir, n)
	if err != nil {
		return nil, err
	}
	for _, p := range nodes {
		if err := p.start(); err != nil {
			nodes.kill()
			return nil, err
		}
	}
	if err := nodes.awaitReady(ctx); err != nil {
		nodes.kill()
		return nil, err
	}
	return nodes, nil
}

// putTurn writes to the leader and returns puts per second for each number of
// clients, and then nanoseconds of processor time per put for each.
func (a *against) putTurn(ctx context.Context, nodes processes) ([]float64, error) {
	leader, err := nodes.leader(ctx)
	if err != nil {
		return nil, err
	}
	var rates, costs []float64
	for _, clients := range a.clients {
		before, err := nodes.cpuTime()
		if err != nil {
			return nil, err
		}
		r, calls, err := a.hammerPuts(ctx, leader, clients)
		if err != nil {
			return nil, err
		}
		after, err := nodes.cpuTime()
		if err != nil {
			return nil, err
		}
		rates, costs = append(rates, r), append(costs, float64(after-before)/float64(calls))
	}
	return append(rates, costs...), nil
}

// hammerPuts has clients put keys of a million, and returns the rate and how many were done.
func (a *against) hammerPuts(ctx context.Context, p *process, clients int) (perSecond float64, done int64, err error) {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: clients}}
	defer client.CloseIdleConnections()
	value := make([]byte, a.valueBytes)
	var calls atomic.Int64
	perSecond, err = hammer(clients, a.duration, func(r *rand.Rand) error {
		calls.Add(1)
		return putValue(ctx, client, p, keyOf(r.IntN(1_000_000)), value)
	})
	return perSecond, calls.Load(), err
}

// putValue writes one key over HTTP.
func putValue(ctx context.Context, client *http.Client, p *process, key string, value []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, "http://"+p.http+"/kv/"+key, bytes.NewReader(value))
	if err != nil {
		return err
	}
	return discard(client.Do(req))
}

// cpuTime returns the processor time that all of them have used.
func (ps processes) cpuTime() (sum time.Duration, err error) {
	for _, p := range ps {
		d, err := p.cpuTime()
		if err != nil {
			return 0, err
		}
		sum += d
	}
	return sum, nil
}

// restarts fills a node of each version, and then kills and starts them in turn.
func (a *against) restarts(ctx context.Context, versions []version) error {
	var contenders []contender
	for _, v := range versions {
		nodes, err := startCluster(ctx, version{v.name, v.program, v.dir + "-restart"}, 1)
		if err != nil {
			return err
		}
		defer nodes.kill()
		if err := a.fill(ctx, nodes[0]); err != nil {
			return err
		}
		if err := a.overwrite(ctx, nodes[0]); err != nil {
			return err
		}
		nodes.kill()
		contenders = append(contenders, contender{v.name, func() ([]float64, error) { return restartTurn(ctx, nodes[0]) }})
	}
	columns, err := inTurn(ctx, a.rounds, 3, contenders)
	if err != nil {
		return err
	}
	fmt.Fprintf(a.out, "A node with %d keys, values of %d bytes, %d of them put again since its snapshot, is killed and started again, %d rounds.\n",
		a.keys, a.valueBytes, a.tail(), a.rounds)
	t := quotients("after the start of the process", []string{"the port listens", "/livez answers", "/readyz says yes"}, columns,
		func(s float64) string { return fmt.Sprintf("%.3f s", s) })
	t.write(a.out)
	return nil
}

// tail returns how many puts a node has in its log behind its snapshot.
func (a *against) tail() int { return a.keys / 20 }

// fill puts every key once, in no order.
func (a *against) fill(ctx context.Context, p *process) error {
	keys := rand.New(rand.NewPCG(1, 2)).Perm(a.keys)
	return a.putKeys(ctx, p, len(keys), func(i int) int { return keys[i] })
}

// overwrite puts keys again until the node has taken another snapshot, and then
// tail more: each version is to find as much log behind its snapshot.
func (a *against) overwrite(ctx context.Context, p *process) error {
	before, err := p.newestSnapshot()
	if err != nil {
		return err
	}
	step := max(1, a.tail()/4)
	for at := 0; ; at += step {
		if err := a.putKeys(ctx, p, step, func(i int) int { return (at + i) % a.keys }); err != nil {
			return err
		}
		now, err := p.newestSnapshot()
		if err != nil {
			return err
		}
		if now != before {
			return a.putKeys(ctx, p, a.tail(), func(i int) int { return i })
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

// putKeys puts n keys, those that key gives for 0 to n-1.
func (a *against) putKeys(ctx context.Context, p *process, n int, key func(i int) int) error {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: loaders}}
	defer client.CloseIdleConnections()
	value := make([]byte, a.valueBytes)
	var next atomic.Int64
	var wg sync.WaitGroup
	errs := make([]error, loaders)
	for i := range loaders {
		wg.Go(func() {
			for k := int(next.Add(1)) - 1; k < n && errs[i] == nil; k = int(next.Add(1)) - 1 {
				errs[i] = putValue(ctx, client, p, keyOf(key(k)), value)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// restartTurn starts the node, and returns after how many seconds its port
// listens, it answers, and it serves. It kills the node again.
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

// quotients returns a table with a row for each contender and a last one with the
// first's figures divided by the second's.
func quotients(corner string, titles []string, columns [][]figures, format func(float64) string) table {
	t := table{head: append([]string{corner}, titles...)}
	for row := range columns[0] {
		cells := []string{columns[0][row].name}
		for _, column := range columns {
			cells = append(cells, format(median(column[row].values)))
		}
		t.add(cells...)
	}
	last := []string{"first ÷ second"}
	for _, column := range columns {
		last = append(last, fmt.Sprintf("%.2f", ratio(column[0].values, column[1].values)))
	}
	t.add(last...)
	return t
}
