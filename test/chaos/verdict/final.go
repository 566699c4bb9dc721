package verdict

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/kvorum/kvorum/test/chaos/lab"
	"github.com/kvorum/kvorum/test/chaos/record"
	"github.com/kvorum/kvorum/test/history"
)

const (
	// settleLimit is the maximum time until all nodes have reached the same state.
	settleLimit = 60 * time.Second
	// hashLimit is the maximum time until the replicas record their state hash at one
	// index. They do so every 10 s while there are writes.
	hashLimit = 20 * time.Second
	// checkLimit is the maximum time of the checker of histories.
	checkLimit = 2 * time.Minute
	// askTimeout is the maximum time of one question about a node's state, and listTimeout
	// that of one list of all its data.
	askTimeout  = 3 * time.Second
	listTimeout = time.Minute
	// pollTick is the time between two checks.
	pollTick = 100 * time.Millisecond
	// told is the maximum number of violations of one kind that are reported one by one.
	told = 10
	// drawn is the maximum number of keys that are drawn.
	drawn = 8
)

// Final checks a cluster whose clients have ended, and their results, and adds its findings
// to run: Violations, Keys and Checks. It checks the hosts that run and are members. A
// member that does not run is a violation. It takes at most some minutes. If ctx ends, it
// ends early, which is a violation too.
func Final(ctx context.Context, hosts []lab.Host, h *history.History, run *record.Run) {
	f := &final{
		hosts: hosts, hist: h, run: run,
		client: &http.Client{Transport: &http.Transport{DisableCompression: true}},
	}
	defer f.client.CloseIdleConnections()
	if nodes, ok := f.settle(ctx); ok {
		if all, ok := f.contents(ctx, nodes); ok {
			f.counters(all[0])
			f.replay(ctx, nodes, all)
		}
		f.hashes(ctx, nodes)
	}
	f.histories()
	f.watches(ctx)
	f.promises()
	f.service()
	if ctx.Err() != nil {
		f.violate("the checks are carried out", "ours, not the cluster's: interrupted: %v", context.Cause(ctx))
	}
}

// final is the state of one call of Final.
type final struct {
	hosts  []lab.Host
	hist   *history.History
	run    *record.Run
	client *http.Client
}

// violate adds a violation.
func (f *final) violate(promise, format string, args ...any) {
	f.run.Violations = append(f.run.Violations, record.Violation{
		At: f.at(time.Now()), Promise: promise, What: fmt.Sprintf(format, args...),
	})
}

// at returns a moment as a record has it.
func (f *final) at(t time.Time) float64 { return t.Sub(f.run.Began).Round(time.Millisecond).Seconds() }

// check adds a check of n things, which of describes. If n is 0, it is a violation.
func (f *final) check(name string, passed bool, n int, of string, args ...any) {
	c := record.Check{Name: name, Of: fmt.Sprintf(of, args...), Passed: passed && n > 0}
	f.run.Checks = append(f.run.Checks, c)
	if n == 0 {
		f.violate(name, "ours, not the cluster's: there was nothing to look at")
	}
}

// several reports violations of one promise, the first of them one by one.
type several struct {
	f       *final
	promise string
	found   int
}

func (s *several) add(format string, args ...any) {
	if s.found++; s.found <= told {
		s.f.violate(s.promise, format, args...)
	}
}

// end reports the number of further violations, and returns whether there were none.
func (s *several) end() (none bool) {
	if more := s.found - told; more > 0 {
		s.f.violate(s.promise, "and %d more of the kind", more)
	}
	return s.found == 0
}
