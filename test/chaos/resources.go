package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/kvorum/kvorum/test/chaos/lab"
	"github.com/kvorum/kvorum/test/chaos/load"
	"github.com/kvorum/kvorum/test/chaos/record"
	"github.com/kvorum/kvorum/test/history"
)

const (
	// mayGrow is the maximum factor by which a node's memory and descriptors may be higher
	// after load.
	mayGrow = 1.2
	// spareDescriptors and spareMemory are additional allowances: for files of a log that
	// has grown, and for memory that the runtime keeps.
	spareDescriptors = 12
	spareMemory      = 4 << 20
	// burst is the time for which clients load the nodes, to see which resources they keep.
	burst = 5 * time.Second
	// backTimeout is the maximum time until they have given the rest back.
	backTimeout = 45 * time.Second
)

// used are the resources that a node takes.
type used struct {
	lab.Resources
	// kept is the memory, by the node's own account, of what it is to keep: keys and values with
	// their history, and the newest entries of the log, whose cache is empty after a start.
	kept int64
}

// resources are the resources of nodes at one time, by name.
type resources map[string]used

// measure returns the present resources of the nodes, except nodes that do not run or answer.
func measure(ctx context.Context, hosts []lab.Host) resources {
	r := resources{}
	for _, h := range hosts {
		has, err := h.Resources()
		if err != nil {
			continue
		}
		s, err := statusOf(ctx, h)
		if err == nil && s.Memory != nil && s.Log != nil {
			r[h.Name()] = used{has, s.Memory.Data + s.Log.CacheBytes}
		}
	}
	return r
}

// collected is the memory that Go's heap may take for each byte that is in use: a
// collection begins when as much garbage has been made.
const collected = 2

// above returns the resources that are higher now than they may be after load.
func (r resources) above(now resources) (over []string) {
	for name, has := range now {
		before := r[name]
		if limit := int(mayGrow*float64(before.Descriptors)) + spareDescriptors; has.Descriptors > limit {
			over = append(over, fmt.Sprintf("%s has %d descriptors open, %d before, %d at most", name, has.Descriptors, before.Descriptors, limit))
		}
		more := max(has.kept-before.kept, 0)
		if limit := int64(mayGrow*float64(before.Resident)) + spareMemory + collected*more; before.Resident > 0 && has.Resident > limit {
			over = append(over, fmt.Sprintf("%s takes %d MiB, %d before, %d at most", name, has.Resident>>20, before.Resident>>20, limit>>20))
		}
	}
	return over
}

// burst loads the nodes for a while, as the run's clients did, with keys of its own.
func (r *run) burst(ctx context.Context, hosts []lab.Host, name string, seed uint64) {
	clients := load.Start(load.Config{Hosts: hosts, PerHost: r.o.clients, Seed: seed, Pause: time.Millisecond}, history.New(name))
	_ = sleep(ctx, burst)
	clients.Stop()
}

// givenBack checks that nodes give back the resources that load takes. Descriptors are
// compared with those of the idle cluster before the run. At that time memory had no data,
// so memory is compared with its value before a burst of the same load, without what the burst
// has added to the data and to the log's cache. A burst before that makes up for restarts: a
// process that has just been started lacks the buffers that any load takes once.
func (r *run) givenBack(ctx context.Context, hosts []lab.Host) error {
	r.burst(ctx, hosts, "warmth/", r.o.seed+2)
	before := measure(ctx, hosts)
	for name, has := range before {
		has.Descriptors = r.idle[name].Descriptors
		before[name] = has
	}
	r.burst(ctx, hosts, "burst/", r.o.seed+1)
	peak := measure(ctx, hosts)
	end := time.Now().Add(backTimeout)
	now := measure(ctx, hosts)
	over := before.above(now)
	for len(over) > 0 && time.Now().Before(end) && sleep(ctx, time.Second) == nil {
		now = measure(ctx, hosts)
		over = before.above(now)
	}
	if err := context.Cause(ctx); err != nil {
		return err
	}
	var of []string
	for _, h := range hosts {
		a, b, c := before[h.Name()], peak[h.Name()], now[h.Name()]
		of = append(of, fmt.Sprintf("%s: %d, %d and %d MiB (%d, %d and %d KiB of data and log), %d, %d and %d descriptors", h.Name(),
			a.Resident>>20, b.Resident>>20, c.Resident>>20, a.kept>>10, b.kept>>10, c.kept>>10, a.Descriptors, b.Descriptors, c.Descriptors))
	}
	r.rec.Checks = append(r.rec.Checks, record.Check{
		Name: "memory and descriptors are given back after load", Of: "before, at the end of and after load: " + strings.Join(of, "; "), Passed: len(over) == 0 && len(now) == len(hosts),
	})
	for _, what := range over {
		r.rec.Violations = append(r.rec.Violations, record.Violation{
			At: time.Since(r.rec.Began).Round(time.Millisecond).Seconds(), Promise: "memory and descriptors are back to within 20 % after load", What: what,
		})
	}
	return nil
}
