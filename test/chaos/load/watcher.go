package load

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/kvorum/kvorum/test/history"
)

const (
	// stallTimeout is the time without a message after which a watch changes to another
	// node, and markEvery the time between two progress marks.
	stallTimeout = 3 * time.Second
	markEvery    = 500 * time.Millisecond
	// streamTime is the maximum time after which a watch breaks its own stream.
	streamTime = 6 * time.Second
	// anewOneIn is one in how many streams begin with a state, although they could continue.
	anewOneIn = 12
	// restOneIn is one in how many pauses between two streams is long, up to restTime, so that
	// the watch may be overtaken by a compaction.
	restOneIn = 4
	restTime  = 2 * time.Second
	// drainTime is the maximum time for the watches to reach the newest revision after
	// the clients have ended.
	drainTime = 15 * time.Second
)

// watcher watches keys on one host after another. When a stream breaks, it continues on any
// host. It belongs to one goroutine.
type watcher struct {
	load   *Load
	name   string
	prefix string // of the keys, "" for all
	prev   bool   // with the items before
	at     int    // the index of the host that it asks now
	rng    *rand.Rand
	client http.Client
	record *history.Watcher
	from   uint64 // the revision that it needs next, 0 for a new beginning
	state  []Item // of a stream that begins, as far as it has come
	least  uint64 // the newest revision that was known when the stream began
	ends   time.Time
	drops  bool // the next message, once it is time to tell the Lie DropChange
}

// newWatcher returns the watcher of all keys that begins at a host, or the one of some keys.
func newWatcher(l *Load, host int, all bool) *watcher {
	dialer := net.Dialer{Timeout: dialTimeout, KeepAlive: -1}
	w := &watcher{
		load: l, name: fmt.Sprintf("watch of all keys, %d", host+1), at: host, prev: host%2 == 0,
		drops:  l.cfg.Lie == DropChange && host == 1, // the others deliver what it drops
		rng:    rand.New(rand.NewPCG(l.cfg.Seed, uint64(1000+host))),
		client: http.Client{Transport: &http.Transport{DialContext: dialer.DialContext, ResponseHeaderTimeout: stallTimeout, DisableCompression: true}},
	}
	if !all {
		w.prefix, w.prev = l.hist.Prefix()+"t/", false
		w.name = fmt.Sprintf("watch of %s, %d", w.prefix, host+1)
		w.rng = rand.New(rand.NewPCG(l.cfg.Seed, uint64(2000+host)))
	}
	w.record = l.hist.Watcher(w.name, w.prefix, w.prev)
	return w
}

// run watches until ctx ends.
func (w *watcher) run(ctx context.Context) {
	defer w.client.CloseIdleConnections()
	for ctx.Err() == nil {
		pause := 200 * time.Millisecond
		if w.stream(ctx) {
			pause = time.Duration(w.rng.Int64N(int64(50 * time.Millisecond)))
		}
		if w.rng.IntN(restOneIn) == 0 {
			pause = time.Duration(w.rng.Int64N(int64(restTime)))
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
		w.at = w.rng.IntN(len(w.load.cfg.Hosts))
	}
}

// stream follows one stream to its end, and reports whether there was one.
func (w *watcher) stream(ctx context.Context) bool {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if w.rng.IntN(anewOneIn) == 0 {
		w.from = 0
	}
	w.least, w.state = w.load.hist.Newest(), nil
	w.ends = time.Now().Add(time.Duration(w.rng.Int64N(int64(streamTime))))
	s, err := OpenStream(ctx, &w.client, w.load.cfg.Hosts[w.at].URL(), w.query())
	if err != nil {
		w.refused(err)
		return false
	}
	defer s.Close()
	if w.from != 0 {
		w.load.tally.count("watch continued")
	}
	stalled := time.AfterFunc(stallTimeout, cancel)
	defer stalled.Stop()
	for {
		m, err := s.Next()
		if err != nil {
			if errors.Is(err, errAnswer) {
				w.load.hist.Broke(promiseAnswer, "the %s: %v", w.name, err)
			}
			return true
		}
		stalled.Reset(stallTimeout)
		if !w.take(m) || m.Type != "state" && time.Now().After(w.ends) {
			return true
		}
	}
}

// query returns the parameters of the next stream.
func (w *watcher) query() url.Values {
	query := url.Values{"progress": {markEvery.String()}}
	if w.prefix != "" {
		query.Set("prefix", w.prefix)
	}
	if w.prev {
		query.Set("prev", "true")
	}
	switch {
	case w.from != 0:
		query.Set("from_revision", strconv.FormatUint(w.from, 10))
	case w.prefix == "":
		query.Set("snapshot", "true")
	}
	return query
}

// refused handles an error of a stream's beginning.
func (w *watcher) refused(err error) {
	refusal := (*Refusal)(nil)
	if !errors.As(err, &refusal) {
		return
	}
	w.load.hist.Looked(promiseAnswer)
	switch {
	case refusal.Code == "compacted" && w.from != 0:
		w.compacted(w.from, refusal.Compact)
	case refusal.Status != http.StatusServiceUnavailable && refusal.Status != http.StatusTooManyRequests && refusal.Status != http.StatusGatewayTimeout &&
		refusal.Status != http.StatusInsufficientStorage:
		w.load.hist.Broke(promiseAnswer, "the %s got from %s: %v", w.name, w.load.cfg.Hosts[w.at].Name(), err)
	}
}

// compacted handles the answer that a revision is not kept any more. The watch begins again.
func (w *watcher) compacted(revision, compact uint64) {
	w.load.tally.count("watch compacted")
	w.load.hist.Looked(promiseCompacted)
	if err := w.load.hist.Compacted(revision, compact); err != nil {
		w.load.hist.Broke(promiseCompacted, "the %s: %v", w.name, err)
	}
	w.from = 0
}

// take records a message, and reports whether the stream continues.
func (w *watcher) take(m Message) bool {
	h := w.load.hist
	switch m.Type {
	case "start":
		w.begin(m)
	case "state":
		w.state = append(w.state, m.Items...)
		return true
	case "synced":
		w.begin(m)
	case "changes":
		events, err := m.Events()
		if err != nil {
			h.Broke(promiseAnswer, "the %s: %v", w.name, err)
			return false
		}
		w.load.tally.count("watch changes")
		if w.drops && time.Since(w.load.cfg.Began) > lostAfter {
			w.drops = false
			break
		}
		w.record.Changes(m.Revision, events)
	case "waiting":
		return true
	case "end":
		if m.Revision == 0 { // inside the state
			return false
		}
		w.record.Progress(m.Revision)
	case "progress":
		w.load.tally.count("watch progress")
		w.record.Progress(m.Revision)
	case "compacted":
		w.record.Progress(m.Revision)
		w.compacted(m.Revision+1, m.Compact)
		return false
	default:
		h.Broke(promiseAnswer, "the %s got a message of type %q", w.name, m.Type)
		return false
	}
	w.from = m.Revision + 1
	return m.Type != "end"
}

// begin records the beginning of a stream.
func (w *watcher) begin(m Message) {
	h := w.load.hist
	if w.from != 0 {
		w.record.Continue(m.Revision)
		return
	}
	h.Looked(promiseWatch)
	if m.Revision < w.least {
		h.Broke(promiseWatch, "the %s began on %s after revision %d, and %d had been acknowledged before", w.name, w.load.cfg.Hosts[w.at].Name(), m.Revision, w.least)
	}
	if m.Type == "start" {
		w.record.Begin(m.Revision)
		return
	}
	w.load.tally.count("watch state")
	w.record.State(m.Revision, w.state)
}

// drain waits until all watches have reached the newest revision that the clients know.
func (l *Load) drain() {
	newest := l.hist.Newest()
	for deadline := time.Now().Add(drainTime); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		behind := false
		for _, w := range l.watchers {
			behind = behind || w.record.After() < newest
		}
		if !behind {
			return
		}
	}
}
