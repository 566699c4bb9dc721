package verdict

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kvorum/kvorum/test/chaos/lab"
	"github.com/kvorum/kvorum/test/chaos/load"
	"github.com/kvorum/kvorum/test/chaos/record"
)

const (
	promiseCounter  = "a counter has all acknowledged additions, and no sum is answered twice"
	promiseStream   = "a watch delivers each change once, in order and whole, and no mark is ahead of it"
	promiseEqual    = "all watches deliver the same changes, without a gap"
	promiseAcked    = "watches deliver what was acknowledged, and nothing that was reported as not done"
	promiseReplay   = "a state and the changes after it are the final state"
	promisePast     = "a read at a revision is the result of the changes up to it"
	promiseHistory  = "history that nobody compacted is kept"
	promiseReaching = "every node delivers the history up to the end"
)

const (
	// retention is somewhat less than the time for which a cluster keeps its history by
	// default.
	retention = 9 * time.Minute
	// replayTimeout is the maximum time of the last watch of a node.
	replayTimeout = time.Minute
)

// counters checks the counters with their final values.
func (f *final) counters(c content) {
	broken := &several{f: f, promise: promiseCounter}
	report := f.hist.CheckCounters(func(key string) int64 {
		n, _ := strconv.ParseInt(c.ours[key], 10, 64) // 0 if there is none
		return n
	})
	for _, text := range report.Failures {
		broken.add("%s", text)
	}
	f.check(promiseCounter, broken.end(), report.Additions, "%d additions to %d counters, %d of unknown outcome", report.Additions, report.Counters, report.Unknown)
}

// replay adds the final data of each node to the history, and the changes that each node
// still has.
func (f *final) replay(ctx context.Context, nodes []node, all []content) {
	failed := &several{f: f, promise: promiseReaching}
	for i, n := range nodes {
		f.hist.Final("end of "+n.Name(), all[i].revision, all[i].list)
		if err := f.follow(ctx, n, all[i].revision); err != nil {
			failed.add("%s: %v", n.Name(), err)
		}
	}
	f.check(promiseReaching, failed.end(), len(nodes), "watches of %d nodes from the oldest revision they have to revision %d", len(nodes), all[0].revision)
}

// follow records the changes that a node has, up to a revision.
func (f *final) follow(ctx context.Context, n node, revision uint64) error {
	ctx, cancel := context.WithTimeout(ctx, replayTimeout)
	defer cancel()
	from := uint64(1)
	query := url.Values{"progress": {"100ms"}, "from_revision": {"1"}}
	s, err := load.OpenStream(ctx, f.client, n.URL(), query)
	if refusal := (*load.Refusal)(nil); errors.As(err, &refusal) && refusal.Code == "compacted" {
		if err := f.hist.Compacted(from, refusal.Compact); err != nil {
			return err
		}
		from = refusal.Compact
		query.Set("from_revision", strconv.FormatUint(from, 10))
		s, err = load.OpenStream(ctx, f.client, n.URL(), query)
	}
	if err != nil {
		return err
	}
	defer s.Close()
	w := f.hist.Watcher("last watch of "+n.Name(), "", false)
	w.Begin(from - 1)
	for w.After() < revision {
		m, err := s.Next()
		if err != nil {
			return fmt.Errorf("after revision %d: %w", w.After(), err)
		}
		switch m.Type {
		case "start":
			w.Continue(m.Revision)
		case "changes":
			events, err := m.Events()
			if err != nil {
				return err
			}
			w.Changes(m.Revision, events)
		case "progress":
			w.Progress(m.Revision)
		default:
			return fmt.Errorf("after revision %d: a message of type %q", w.After(), m.Type)
		}
	}
	return nil
}

// watches compares what watches have delivered with each other, and with all that clients
// saw.
func (f *final) watches(ctx context.Context) {
	r := f.hist.CheckWatches()
	tell := func(promise string, found []string) bool {
		broken := &several{f: f, promise: promise}
		for _, text := range found {
			broken.add("%.2000s", text)
		}
		return broken.end()
	}
	if n := len(r.Empty); n > 0 {
		if err := f.gone(ctx, r.Empty[n-1]-1); err != nil {
			r.Differ = append(r.Differ, fmt.Sprintf("nobody got a change of %d revisions, the last one %d: %v", n, r.Empty[n-1], err))
		}
	}
	f.check(promiseStream, tell(promiseStream, r.Alone), r.Messages, "%d messages of %d watches, which began %d times", r.Messages, r.Watches, r.Streams)
	f.check(promiseEqual, tell(promiseEqual, r.Differ), r.Revisions, "%d changes of %d revisions, delivered by %d watches", r.Events, r.Revisions, r.Watches)
	f.check(promiseAcked, tell(promiseAcked, r.Acked), r.AckedCompared, "%d acknowledged changes", r.AckedCompared)
	f.check(promiseReplay, tell(promiseReplay, r.States), r.FinalCompared, "%d states with which watches began, and those of %d nodes in the end", r.StatesCompared-r.FinalCompared, r.FinalCompared)
	f.check(promisePast, tell(promisePast, r.Past), r.PastCompared, "%d keys at a revision", r.PastCompared)
	f.compactions()
}

// gone returns nil if a revision can't be read any more: a revision without a change is that
// of a compaction of all history.
func (f *final) gone(ctx context.Context, revision uint64) error {
	at := slices.IndexFunc(f.hosts, lab.Host.Running)
	if at < 0 {
		return errors.New("no node runs")
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("%s/kv/?limit=1&revision=%d", f.hosts[at].URL(), revision), nil)
	if err != nil {
		return err
	}
	resp, err := f.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusGone {
		return fmt.Errorf("a read of revision %d is answered with %s, so no compaction has taken one of them", revision, resp.Status)
	}
	return nil
}

// compactions checks that no history was discarded that no client had asked for, unless it was
// due, or a fault took the room for it.
func (f *final) compactions() {
	unasked := f.hist.Unasked(retention)
	short := slices.ContainsFunc(f.run.Faults, func(fault record.Fault) bool {
		return strings.Contains(fault.Name, "disk") || strings.Contains(fault.Name, "memory")
	})
	passed := unasked == 0 || short
	if !passed {
		f.violate(promiseHistory, "a node refused revisions up to %d as compacted, which nobody had asked for", unasked)
	}
	f.check(promiseHistory, passed, 1, "the history up to revision %d", f.hist.Newest())
}
