package load

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kvorum/kvorum/test/chaos/lab"
	"github.com/kvorum/kvorum/test/chaos/record"
	"github.com/kvorum/kvorum/test/history"
)

const (
	// perHost is the default of Config.PerHost, and meanPause that of Config.Pause.
	perHost   = 4
	meanPause = 20 * time.Millisecond
	// epoch is the time for which the clients use one set of keys.
	epoch = 5 * time.Second
	// keysAtOnce is the number of keys that a group of clients uses at once.
	keysAtOnce = 3
	// enough is the number of acknowledged writes below which a client shows nothing.
	enough = 100
)

// Lie is an error that the clients make on purpose, so that the checks must find it.
type Lie string

// The lies.
const (
	Honest               Lie = ""
	UnknownAsNotDone     Lie = "unknown-as-not-done"    // a write without an answer is reported as not done
	StaleAsLinearizable  Lie = "stale-as-linearizable"  // reads at the level stale are recorded as linearizable ones
	LeaderAsLinearizable Lie = "leader-as-linearizable" // reads at the level leader are recorded as linearizable ones
	EarlyAcknowledgement Lie = "early-acknowledgement"  // a write counts as acknowledged once it was sent to one node
	LostWrite            Lie = "lost-write"             // two writes are recorded as acknowledged and never sent
	DropChange           Lie = "drop-change"            // the watches that begin at the second host drop one message
	NewestAsPast         Lie = "newest-as-past"         // reads at a revision are sent without it
	ForgottenKey         Lie = "forgotten-key"          // additions are sent again without their idempotency key
)

// Lies are all lies except Honest.
var Lies = []Lie{UnknownAsNotDone, StaleAsLinearizable, LeaderAsLinearizable, EarlyAcknowledgement, LostWrite, DropChange, NewestAsPast, ForgottenKey}

// Config configures the clients: their hosts, and how often they send requests.
type Config struct {
	Hosts []lab.Host
	// Initial is the number of the first Hosts that must serve their clients; 0 means all.
	// Clients of the others may do nothing, and Thin does not name them.
	Initial int
	// PerHost is the number of clients of each host, without the one that keeps a
	// session; 0 is 4.
	PerHost int
	Seed    uint64
	Began   time.Time     // of the run; the zero value is now
	Pause   time.Duration // between two operations of a client, on average; 0 is 20 ms
	Lie     Lie
}

// Load is a set of running clients. Its methods are safe for concurrent use.
type Load struct {
	cfg     Config
	hist    *history.History
	clients []*client
	tally   tally
	stop    chan struct{} // closed when the clients must end
	ended   sync.Once
	running sync.WaitGroup

	watchers []*watcher
	unwatch  context.CancelFunc // ends the watchers
	watching sync.WaitGroup

	compacted atomic.Uint64 // the highest revision of an acknowledged compaction

	mu     sync.Mutex
	asked  []asked // guarded by mu; reads at a revision
	oldest int     // guarded by mu; number of those that were replaced
}

// Start starts clients and watches on every host, which record what they see in h, until
// Stop.
func Start(cfg Config, h *history.History) *Load {
	if cfg.Initial == 0 {
		cfg.Initial = len(cfg.Hosts)
	}
	if cfg.PerHost == 0 {
		cfg.PerHost = perHost
	}
	if cfg.Pause == 0 {
		cfg.Pause = meanPause
	}
	if cfg.Began.IsZero() {
		cfg.Began = time.Now()
	}
	l := &Load{cfg: cfg, hist: h, stop: make(chan struct{}), tally: tally{began: cfg.Began, kinds: map[string]*record.Operation{}}}
	watching, unwatch := context.WithCancel(context.Background())
	l.unwatch = unwatch
	for i := range cfg.Hosts {
		for _, all := range []bool{true, false} {
			w := newWatcher(l, i, all)
			l.watchers = append(l.watchers, w)
			l.watching.Go(func() { w.run(watching) })
		}
	}
	for i := range cfg.Hosts {
		for n := range cfg.PerHost + 1 {
			c := newClient(l, len(l.clients), i, n)
			l.clients = append(l.clients, c)
			act := c.act
			if n == cfg.PerHost {
				act = newSession(c).act
			}
			l.running.Go(func() { c.run(act) })
		}
	}
	return l
}

// newClient returns the n-th client of a host.
func newClient(l *Load, id, host, n int) *client {
	c := &client{
		load: l, id: id, host: host, group: n, rng: rand.New(rand.NewPCG(l.cfg.Seed, uint64(id))),
		name: fmt.Sprintf("client %d of %s", n+1, l.cfg.Hosts[host].Name()),
	}
	for _, h := range l.cfg.Hosts {
		c.wires = append(c.wires, newWire(h.URL()))
	}
	return c
}

// Stop ends the clients and waits for their operations in flight, for at most 5 s, and for the
// answers to additions with an idempotency key, for at most 10 s more. Then it
// waits until the watches have reached the newest revision, for at most 15 s, and ends them.
// It may be called more than once.
func (l *Load) Stop() {
	l.ended.Do(func() {
		close(l.stop)
		l.running.Wait()
		l.tally.stop()
		l.drain()
		l.unwatch()
	})
	l.running.Wait()
	l.watching.Wait()
}

// Thin names the clients with fewer than 100 acknowledged writes: their results show
// little.
func (l *Load) Thin() []record.Uncovered {
	var thin []record.Uncovered
	for _, c := range l.clients {
		if n := c.acked.Load(); n < enough && c.host < l.cfg.Initial {
			thin = append(thin, record.Uncovered{
				What:   c.name,
				Reason: fmt.Sprintf("%d of its writes were acknowledged, and %d must be", n, enough),
			})
		}
	}
	return thin
}

// needed are the least numbers of answers of each kind of operation, below which a run shows
// little of it.
var needed = map[string]int{
	"get linearizable": 100, "get leader": 50, "get stale": 50, "list": 50, "put": 100, "put if": 50, "put once": 50, "delete": 50,
	"session put": 50, "session get": 50, "session list": 10,
	"txn": 100, "list of a group": 30, "incr": 30, "incr once": 20, "incr once more": 5, "batch": 20, "get at revision": 30, "list at revision": 5, "compact": 2,
	"watch changes": 1000, "watch continued": 10, "watch state": 3,
}

// Few names the kinds of operations of which too few were answered to show something.
func (l *Load) Few() []record.Uncovered {
	answered := map[string]int{}
	for _, o := range l.Operations() {
		answered[o.Kind] = o.Answered
	}
	var few []record.Uncovered
	for _, kind := range slices.Sorted(maps.Keys(needed)) {
		if n := answered[kind]; n < needed[kind] {
			few = append(few, record.Uncovered{What: kind, Reason: fmt.Sprintf("%d were answered, and %d must be", n, needed[kind])})
		}
	}
	return few
}

// Clients returns the number of clients.
func (l *Load) Clients() int { return len(l.clients) }

// Seconds returns the results of the clients in each second since the run began, up to now
// or to Stop.
func (l *Load) Seconds() []record.Second { return l.tally.all() }

// Operations returns the numbers of operations by their kind, such as "get stale", in the
// order of the kinds.
func (l *Load) Operations() []record.Operation { return l.tally.operations() }

// Acknowledged returns the time of the first acknowledged write after a time, and whether
// there was one.
func (l *Load) Acknowledged(after time.Time) (time.Time, bool) { return l.tally.acknowledged(after) }

// LongestGap returns the longest time without an acknowledged write between two moments.
func (l *Load) LongestGap(from, to time.Time) time.Duration { return l.tally.longestGap(from, to) }
