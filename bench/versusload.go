package main

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync/atomic"
	"time"
)

const (
	// versusKeys is the number of keys that requests use.
	versusKeys = 10_000
	// idleTime is the time for which the processor time of a leader without requests is
	// measured.
	idleTime = 3 * time.Second
)

// workload is one kind of request to one kind of node.
type workload struct {
	name     string
	method   string
	query    string
	follower bool // the request is made to a follower, otherwise to the leader
}

// workloads are the kinds of requests with which two versions are compared.
var workloads = []workload{
	{name: "put, at the leader", method: http.MethodPut},
	{name: "put, at a follower", method: http.MethodPut, follower: true},
	{name: "get, linearizable, at the leader", method: http.MethodGet},
	{name: "get, linearizable, at a follower", method: http.MethodGet, follower: true},
	{name: "get, stale, at a follower", method: http.MethodGet, query: "?consistency=stale", follower: true},
}

// requests runs a cluster of three nodes of each version, and makes requests to each in
// turn.
func (v *versus) requests(ctx context.Context, versions []version) error {
	var contenders []contender
	for _, version := range versions {
		nodes, err := startCluster(ctx, version, 3)
		if err != nil {
			return err
		}
		defer nodes.kill()
		if err := v.putKeys(ctx, nodes[0], versusKeys, func(i int) int { return i }); err != nil {
			return err
		}
		contenders = append(contenders, contender{version.name, func() ([]float64, error) { return v.requestTurn(ctx, nodes) }})
	}
	var titles []string
	for _, l := range workloads {
		for _, n := range v.clients {
			titles = append(titles, fmt.Sprintf("%s, %d at once", l.name, n))
		}
	}
	columns, err := inTurn(ctx, v.rounds, 2*len(titles)+1, contenders)
	if err != nil {
		return err
	}
	fmt.Fprintf(v.out, "Clusters of three processes over HTTP, values of %d bytes, %d rounds.\n", v.valueBytes, v.rounds)
	rates := sideBySide("requests", titles, columns[:len(titles)], rate)
	rates.write(v.out)
	costs := sideBySide("processor time of all three", append(titles, fmt.Sprintf("the leader alone, idle for %v", idleTime)), columns[len(titles):],
		func(ns float64) string { return took(time.Duration(ns)) })
	costs.write(v.out)
	return nil
}

// requestTurn returns the requests per second for each load and number of clients, then the
// nanoseconds of processor time for one request, and last those of an idle leader.
func (v *versus) requestTurn(ctx context.Context, nodes processes) ([]float64, error) {
	leader, err := nodes.leader(ctx)
	if err != nil {
		return nil, err
	}
	var rates, costs []float64
	for _, l := range workloads {
		target := leader
		if l.follower {
			target = nodes.without(leader)[0]
		}
		for _, clients := range v.clients {
			r, cost, err := v.hammer(ctx, nodes, target, l, clients)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", l.name, err)
			}
			rates, costs = append(rates, r), append(costs, cost)
		}
	}
	idle, err := idleCost(ctx, leader)
	return append(append(rates, costs...), idle), err
}

// hammer makes clients make requests. It returns their rate, and the nanoseconds of all
// nodes' processor time for one request.
func (v *versus) hammer(ctx context.Context, nodes processes, target *process, l workload, clients int) (perSecond, cost float64, err error) {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: clients}}
	defer client.CloseIdleConnections()
	value := make([]byte, v.valueBytes)
	before, err := nodes.cpuTime()
	if err != nil {
		return 0, 0, err
	}
	var calls atomic.Int64
	perSecond, err = hammer(clients, v.duration, func(r *rand.Rand) error {
		calls.Add(1)
		return l.ask(ctx, client, target, keyOf(r.IntN(versusKeys)), value)
	})
	if err != nil {
		return 0, 0, err
	}
	after, err := nodes.cpuTime()
	return perSecond, float64(after-before) / float64(calls.Load()), err
}

// ask makes one request for a key.
func (l workload) ask(ctx context.Context, client *http.Client, p *process, key string, value []byte) error {
	if l.method != http.MethodPut {
		value = nil
	}
	req, err := http.NewRequestWithContext(ctx, l.method, "http://"+p.http+"/kv/"+key+l.query, bytes.NewReader(value))
	if err != nil {
		return err
	}
	return discard(client.Do(req))
}

// idleCost returns the nanoseconds of processor time that a node takes in idleTime without
// requests.
func idleCost(ctx context.Context, p *process) (float64, error) {
	before, err := p.cpuTime()
	if err != nil {
		return 0, err
	}
	select {
	case <-time.After(idleTime):
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	after, err := p.cpuTime()
	return float64(after - before), err
}
