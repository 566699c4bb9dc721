package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
)

// served measures the cost of requests to a server, by its number of keys.
type served struct {
	dir        string
	rounds     int
	sizes      []int
	valueBytes int
	duration   time.Duration // of one measurement of one kind of request
	out        io.Writer
}

// servedClients is the number of clients. Each makes one request after the other.
const servedClients = 64

func newServedCommand() *cobra.Command {
	var s served
	cmd := &cobra.Command{
		Use:   "served",
		Short: "Measure what a request costs a server, by how many keys it has",
		Args:  cobra.NoArgs,
	}
	cmd.Flags().StringVar(&s.dir, "dir", "", "directory on the disk to measure (default the one for temporary files)")
	cmd.Flags().IntVar(&s.rounds, "rounds", 3, "turns of each size")
	cmd.Flags().IntSliceVar(&s.sizes, "sizes", []int{10_000, 1_000_000}, "keys; 10000000 take 6 GB of memory and 5 of disk")
	cmd.Flags().IntVar(&s.valueBytes, "value-bytes", 100, "size of a value")
	cmd.Flags().DurationVar(&s.duration, "duration", 2*time.Second, "how long a measurement takes")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		s.out = cmd.OutOrStdout()
		return withDir(s.dir, func(dir string) error { return s.run(cmd.Context(), dir) })
	}
	return cmd
}

// requests are the kinds of requests: the columns of the table.
var requests = []struct {
	name string
	of   func(s *served, base string, keys int, r *rand.Rand) (*http.Request, error)
}{
	{"get, linearizable", func(_ *served, base string, keys int, r *rand.Rand) (*http.Request, error) {
		return http.NewRequest(http.MethodGet, base+keyOf(r.IntN(keys)), nil)
	}},
	{fmt.Sprintf("list %d keys", listKeys), func(_ *served, base string, keys int, r *rand.Rand) (*http.Request, error) {
		return http.NewRequest(http.MethodGet, base+"?prefix="+keyOf(r.IntN(keys))[:keyBytes-2], nil)
	}},
	{"put, synced", func(s *served, base string, keys int, r *rand.Rand) (*http.Request, error) {
		return http.NewRequest(http.MethodPut, base+keyOf(r.IntN(keys)), bytes.NewReader(make([]byte, s.valueBytes))) // as long as those with which it was filled
	}},
}

// run fills a server for each size and prints the table. All servers run at the same time,
// but are measured one after the other.
func (s *served) run(ctx context.Context, dir string) error {
	if err := describe(s.out, "Requests", dir); err != nil {
		return err
	}
	fmt.Fprintf(s.out, "Clusters of one process, %d clients over HTTP; processor time of the server alone; keys of %d bytes, values of %d.\n",
		servedClients, keyBytes, s.valueBytes)
	program, err := buildProgram(ctx, dir)
	if err != nil {
		return err
	}
	var servers processes
	defer func() { servers.kill() }()
	var contenders []contender
	for _, keys := range s.sizes {
		p, err := s.fill(ctx, program, filepath.Join(dir, fmt.Sprint(keys)), keys)
		if err != nil {
			return fmt.Errorf("%d keys: %w", keys, err)
		}
		servers = append(servers, p)
		contenders = append(contenders, contender{fmt.Sprintf("%d keys", keys), func() ([]float64, error) {
			return s.costs(ctx, p, keys)
		}})
	}
	if err := servers.awaitReady(ctx); err != nil {
		return err
	}
	columns, err := inTurn(ctx, s.rounds, len(requests), contenders)
	if err != nil {
		return err
	}
	var titles []string
	for _, r := range requests {
		titles = append(titles, r.name)
	}
	t := bySize("processor time (of it, the first row's)", titles, columns)
	t.write(s.out)
	return nil
}

// fill makes a cluster of one node with so many keys, and starts it as a process.
func (s *served) fill(ctx context.Context, program, dir string, keys int) (*process, error) {
	cfg, err := nodeConfig(dir)
	if err != nil {
		return nil, err
	}
	if _, err := load(ctx, cfg, keys, s.valueBytes); err != nil {
		return nil, err
	}
	ps, err := newProcesses(program, dir, 1)
	if err != nil {
		return nil, err
	}
	return ps[0], ps[0].start()
}

// costs measures each kind of request once. It returns the nanoseconds of the server's
// processor time for one request of each kind.
func (s *served) costs(ctx context.Context, p *process, keys int) ([]float64, error) {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: servedClients}}
	defer client.CloseIdleConnections()
	var costs []float64
	for _, request := range requests {
		before, err := p.cpuTime()
		if err != nil {
			return nil, err
		}
		var calls atomic.Int64
		_, err = hammer(servedClients, s.duration, func(r *rand.Rand) error {
			calls.Add(1)
			req, err := request.of(s, "http://"+p.http+"/kv/", keys, r)
			if err != nil {
				return err
			}
			return discard(client.Do(req.WithContext(ctx)))
		})
		if err != nil {
			return nil, fmt.Errorf("%s: %w", request.name, err)
		}
		after, err := p.cpuTime()
		if err != nil {
			return nil, err
		}
		costs = append(costs, float64(after-before)/float64(calls.Load()))
	}
	return costs, nil
}

// discard reads an answer to its end. Every answer other than success is an error.
func discard(resp *http.Response, err error) error {
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode/100 != 2 {
		return errors.New(resp.Status)
	}
	return nil
}

// userTick is the unit of processor times in /proc: 10 ms on every architecture that Go supports.
const userTick = 10 * time.Millisecond

// cpuTime returns the processor time that the process has used. It needs Linux.
func (p *process) cpuTime() (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	var user, system int64 // the 14th and 15th fields; the second is a name in parentheses
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	if len(fields) < 13 {
		return 0, errors.New("process state is cut short")
	}
	if _, err := fmt.Sscan(fields[11]+" "+fields[12], &user, &system); err != nil {
		return 0, fmt.Errorf("process state: %w", err)
	}
	return time.Duration(user+system) * userTick, nil
}
