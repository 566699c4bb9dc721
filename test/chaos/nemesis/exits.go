package nemesis

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/kvorum/kvorum/test/chaos/lab"
	"github.com/kvorum/kvorum/test/chaos/record"
)

// exits takes the ends of processes, and judges those that the run did not cause.
type exits struct {
	c    *Cluster
	stop chan struct{} // closed by close
	all  sync.WaitGroup

	mu         sync.Mutex
	taken      []record.Exit      // guarded by mu; in order
	violations []record.Violation // guarded by mu
	files      map[string][]byte  // guarded by mu; evidence that the violations name
}

// takeExits takes ends from a channel until close, or until the channel is closed.
func takeExits(from <-chan lab.Exit, c *Cluster) *exits {
	x := &exits{c: c, stop: make(chan struct{}), files: map[string][]byte{}}
	x.all.Go(func() {
		for {
			select {
			case e, ok := <-from:
				if !ok {
					return
				}
				x.take(e)
			case <-x.stop:
				return
			}
		}
	})
	return x
}

// close ends takeExits.
func (x *exits) close() {
	close(x.stop)
	x.all.Wait()
}

// take records the end of one process. If the run did not cause it, and no fault of its
// host excuses it, that is a violation.
func (x *exits) take(e lab.Exit) {
	rec := record.Exit{At: x.c.at(e.At), Host: e.Host.Name(), Code: e.Code, Signal: e.Signal, Asked: e.Asked}
	excused := e.Asked || slices.ContainsFunc(x.c.faultsOn(e.Host), func(f *Fault) bool { return f.excuses(e) })
	if !e.Asked {
		rec.Why = lastLine(e.Log)
		x.c.say("%s ended by itself, with code %d %s: %s", rec.Host, rec.Code, rec.Signal, rec.Why)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.taken = append(x.taken, rec)
	what := fmt.Sprintf("%s ended with code %d %s: %s", rec.Host, rec.Code, rec.Signal, rec.Why)
	if excused || slices.ContainsFunc(x.violations, func(v record.Violation) bool { return v.What == what }) {
		return // all of them are among the exits
	}
	file := fmt.Sprintf("exit-%d-%s.log", len(x.taken), rec.Host)
	x.files[file] = []byte(e.Log)
	x.violations = append(x.violations, record.Violation{
		At: rec.At, Promise: "a process ends by itself for a stated fatal reason alone", Evidence: file, What: what,
	})
}

// fill adds the ends so far to the record of a run.
func (x *exits) fill(run *record.Run) {
	x.mu.Lock()
	defer x.mu.Unlock()
	run.Exits = append(run.Exits, x.taken...)
	run.Violations = append(run.Violations, x.violations...)
	if run.Files == nil {
		run.Files = map[string][]byte{}
	}
	for name, data := range x.files {
		run.Files[name] = data
	}
}

// excuses reports whether a fault on its host is a reason for a process to end like this.
// Nothing excuses a panic.
func (f *Fault) excuses(e lab.Exit) bool {
	if f.MayBeKilled && e.Signal == "killed" {
		return true
	}
	if e.Signal != "" || strings.Contains(e.Log, "panic: ") {
		return false
	}
	return slices.ContainsFunc(f.May, func(reason string) bool { return strings.Contains(e.Log, reason) })
}

// lastLine returns the last line of a log that is not empty.
func lastLine(log string) string {
	log = strings.TrimSpace(log)
	return log[strings.LastIndexByte(log, '\n')+1:]
}
