package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
)

// transactionPuts is the number of puts of a transaction.
const transactionPuts = 10

// transactions measures a transaction of ten puts beside a put, in clusters of three nodes.
type transactions struct {
	rounds     int
	clients    []int
	valueBytes int
	duration   time.Duration // of one measurement
	out        io.Writer
}

func newTransactionsCommand() *cobra.Command {
	var x transactions
	var dir string
	cmd := &cobra.Command{
		Use:   "transactions",
		Short: "Measure a transaction of ten puts beside a put, on three nodes, with and without HTTP",
		Args:  cobra.NoArgs,
	}
	cmd.Flags().StringVar(&dir, "dir", "", "directory on the disk to measure (default the one for temporary files)")
	cmd.Flags().IntVar(&x.rounds, "rounds", 7, "turns, 1 or more")
	cmd.Flags().IntSliceVar(&x.clients, "clients", []int{1, 64}, "clients, or goroutines, that make one request after the other")
	cmd.Flags().IntVar(&x.valueBytes, "value-bytes", 100, "size of a value")
	cmd.Flags().DurationVar(&x.duration, "duration", 2*time.Second, "how long a measurement takes")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		x.out = cmd.OutOrStdout()
		if x.rounds < 1 || x.duration <= 0 || x.valueBytes < 0 {
			return fmt.Errorf("rounds %d, duration %v, value-bytes %d: too small", x.rounds, x.duration, x.valueBytes)
		}
		return withDir(dir, func(dir string) error { return x.run(cmd.Context(), dir) })
	}
	return cmd
}

// askFunc makes requests of so many puts. It returns the nanoseconds of one, and those of the
// processor time of all nodes for it.
type askFunc func(clients, puts int) (wall, cpu float64, err error)

// run prints a table for calls without HTTP, and one for requests over HTTP.
func (x *transactions) run(ctx context.Context, dir string) error {
	if err := describe(x.out, "Transactions", dir); err != nil {
		return err
	}
	program, err := callsDriver.build(ctx, "", filepath.Join(dir, "calls"))
	if err != nil {
		return err
	}
	d, err := program.start(program.dir, nil, filepath.Join(dir, "data"), "0s")
	if err != nil {
		return err
	}
	err = x.measure(ctx, "three nodes in one process, without HTTP", func(clients, puts int) (wall, cpu float64, err error) {
		var a callAnswer
		err = d.ask(callRequest{Put: true, Ops: puts, Goroutines: clients, ValueBytes: x.valueBytes, Duration: x.duration}, &a)
		return float64(a.Took) * float64(clients) / a.Calls, float64(a.CPU) / a.Calls, err
	})
	d.stop()
	if err != nil {
		return fmt.Errorf("calls: %w", err)
	}
	return x.served(ctx, filepath.Join(dir, "served"))
}

// served measures requests to the leader of three processes.
func (x *transactions) served(ctx context.Context, dir string) error {
	v, err := makeVersion(ctx, "", dir)
	if err != nil {
		return err
	}
	nodes, err := startCluster(ctx, v, 3)
	if err != nil {
		return err
	}
	defer nodes.kill()
	leader, err := nodes.leader(ctx)
	if err != nil {
		return err
	}
	return x.measure(ctx, "three processes, over HTTP", func(clients, puts int) (wall, cpu float64, err error) {
		client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: clients}}
		defer client.CloseIdleConnections()
		before, err := nodes.cpuTime()
		if err != nil {
			return 0, 0, err
		}
		var calls atomic.Int64
		perSecond, err := hammer(clients, x.duration, func(r *rand.Rand) error {
			calls.Add(1)
			return x.ask(ctx, client, leader, r, puts)
		})
		if err != nil {
			return 0, 0, err
		}
		after, err := nodes.cpuTime()
		return float64(clients) * float64(time.Second) / perSecond, float64(after-before) / float64(calls.Load()), err
	})
}

// ask makes one request: a PUT of a key, or a transaction of several.
func (x *transactions) ask(ctx context.Context, client *http.Client, p *process, r *rand.Rand, puts int) error {
	key := r.IntN(versusKeys - puts)
	value := strings.Repeat("v", x.valueBytes)
	if puts == 1 {
		return workload{method: http.MethodPut}.ask(ctx, client, p, keyOf(key), []byte(value))
	}
	type put struct {
		Key   string `json:"key"`
		Value string `json:"value"`
	}
	type operation struct {
		Put put `json:"put"`
	}
	var body struct {
		Then []operation `json:"then"`
	}
	for i := range puts {
		body.Then = append(body.Then, operation{put{keyOf(key + i), value}})
	}
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+p.http+"/txn", bytes.NewReader(text))
	if err != nil {
		return err
	}
	return discard(client.Do(req))
}

// measure prints the table of one way to make requests, in turns of transactions and puts.
func (x *transactions) measure(ctx context.Context, corner string, ask askFunc) error {
	turn := func(puts int) func() ([]float64, error) {
		return func() (values []float64, err error) {
			for _, clients := range x.clients {
				wall, cpu, err := ask(clients, puts)
				if err != nil {
					return nil, err
				}
				values = append(values, wall, cpu)
			}
			return values, nil
		}
	}
	columns, err := inTurn(ctx, x.rounds, 2*len(x.clients), []contender{
		{fmt.Sprintf("a transaction of %d puts", transactionPuts), turn(transactionPuts)},
		{"a put", turn(1)},
	})
	if err != nil {
		return err
	}
	var titles []string
	for _, n := range x.clients {
		titles = append(titles, fmt.Sprintf("time, %d at once", n), fmt.Sprintf("processor time of all nodes, %d at once", n))
	}
	t := sideBySide(corner, titles, columns, func(ns float64) string { return took(time.Duration(ns)) })
	t.write(x.out)
	return nil
}
