package sim

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/fsm"
	"github.com/kvorum/kvorum/internal/testkit"
	"github.com/kvorum/kvorum/kv"
	"github.com/kvorum/kvorum/test/chronicle"
	"github.com/kvorum/kvorum/test/history"
)

const (
	// formLimit is the maximum time in which a new cluster forms.
	formLimit = 30 * time.Second
	// healLimit is the maximum time from the end of all faults until the cluster serves
	// again.
	healLimit = 60 * time.Second
	// settle is the time for which the clients continue after that.
	settle = 5 * time.Second
	// drain is longer than any timeout of a node: a goroutine that is left after it has
	// leaked.
	drain = 2 * time.Minute
)

// tooLate is a part of every violation that only says that something took too long.
const tooLate = "not within"

// plan says what a simulation does.
type plan struct {
	seed          uint64
	nodes         int // number of nodes that form the cluster
	length        time.Duration
	clients       int
	faults        []harm         // each is equally likely
	script        func(*nemesis) // replaces the faults, if it is not nil
	snapshotBytes int64
	snapshotRate  int64         // bytes per second; 0 means no limit
	window        int           // of the pipeline to each follower; 0 means no pipeline
	moves         bool          // each process has an address of its own
	link          link          // between all hosts, without faults
	early         bool          // faults begin before the cluster has formed
	pace          float64       // 1: a fault every 5 s or so; 0.2: five times as many
	pause         time.Duration // of a client between operations, on average
	large         bool          // some values are as long as a narrow link carries in a second
	maxValue      int           // bytes; 0 is the default
	builds        bool          // nodes are of two builds; the older one lacks some commands
	evicts        bool          // there is a quota, and some keys may be evicted
	checkpoints   time.Duration // between two comparisons of states, which the older build lacks; 0 means the default

	// Set by positive controls.
	forgetful   bool
	leaderReads bool
	ignoreEnd   bool // logs are not compared with their durable ends
	confirm     func(*raft.Raft) error
	countAsker  func(votes bool, askersTerm, term uint64) bool

	allowVersion func(version uint8) error
	ownClock     bool // leaders go by their own clocks
	// rearm replaces what a new leader adds to the times to live of leases.
	rearm      func(election time.Duration) time.Duration
	hasty      bool // leaders acknowledge what their own disks don't have yet
	state      func(host string) fsm.Seams
	breakWatch func(kv.Watch) kv.Watch
}

// counts are what a simulation reports. Safe for concurrent use.
type counts struct {
	ops, unknown, notDone, faults, restarts, wipes, tails, told, members, transfers, elections, snapshots atomic.Int64
	sessions                                                                                              atomic.Int64 // keys with a time to live that were looked for
	leases                                                                                                atomic.Int64 // answers that say that a lease has ended
	evicted                                                                                               atomic.Int64 // keys that a node has evicted; the greatest number
	newer, unsupported                                                                                    atomic.Int64 // requests that the older build does not understand: done, and refused
	late                                                                                                  atomic.Int64 // voters that a leader has not heard within its lease
	recovery                                                                                              atomic.Int64 // nanoseconds; the longest time from the end of all faults until the cluster has converged
}

func (c *counts) recovered(took time.Duration) {
	c.recovery.Store(max(c.recovery.Load(), int64(took)))
}

// world is one simulation. Everything of it lives in one bubble.
type world struct {
	plan  plan
	trace *trace
	net   *network
	hub   *hub
	count *counts
	hist  *history.History

	chronicle  *chronicle.Chronicle
	followers  []*follower
	increments increments
	sessions   *sessions

	hosts []*host // all there may be; those that are spare have no process

	disturbed time.Duration // how long there were clients

	lying atomic.Bool // disks of a forgetful plan do nothing for syncs any more

	running sync.WaitGroup // processes, and what after starts
	closing chan struct{}  // closed when all nodes are to be closed
	halted  chan struct{}  // closed when no process is to be started any more

	mu        sync.Mutex
	violation string        // guarded by mu; the first
	broken    chan struct{} // closed when violation is set
	report    string        // guarded by mu; the events when it was found
}

func newWorld(p plan, count *counts) *world {
	tr := &trace{start: time.Now(), logged: map[string]time.Time{}}
	rng := rand.New(rand.NewPCG(p.seed, 1))
	w := &world{
		plan: p, trace: tr, hub: newHub(), count: count, hist: history.New(""), chronicle: chronicle.New(),
		net:      newNetwork(rand.New(rand.NewPCG(p.seed, 2)), p.link, tr),
		sessions: new(sessions),
		closing:  make(chan struct{}), halted: make(chan struct{}), broken: make(chan struct{}),
	}
	w.chronicle.Apart(sessionPrefix)
	for i := range p.nodes + 2 {
		h := &host{w: w, clock: testkit.NewClock(), port: firstPort, name: fmt.Sprintf("n%d", i+1), rng: rand.New(rand.NewPCG(p.seed, rng.Uint64()))}
		if i < p.nodes {
			h.expect = p.nodes
		}
		h.wipe()
		h.chooseBuild()
		w.hosts = append(w.hosts, h)
	}
	return w
}

// violate records a broken promise; the first one counts.
func (w *world) violate(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.violation != "" {
		return
	}
	w.violation = fmt.Sprintf(format, args...)
	w.trace.add("VIOLATION: %s", w.violation)
	w.report = w.trace.String()
	close(w.broken)
}

// sleep waits, and reports false if a promise is broken before.
func (w *world) sleep(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-w.broken:
		return false
	}
}

// after calls f later, unless the simulation is over before.
func (w *world) after(d time.Duration, f func()) {
	w.running.Add(1)
	go func() {
		defer w.running.Done()
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
			f()
		case <-w.halted:
		}
	}()
}

// poll calls cond until it returns nil, and is a violation if that takes longer than limit.
func (w *world) poll(limit time.Duration, what string, cond func() error) bool {
	deadline := time.Now().Add(limit)
	for {
		err := cond()
		if err == nil {
			return true
		}
		if time.Now().After(deadline) {
			w.violate("%s: "+tooLate+" %v: %v", what, limit, err)
		}
		if !w.sleep(100 * time.Millisecond) {
			return false
		}
	}
}

// run runs a whole simulation. When it returns, all its goroutines have ended.
func (w *world) run() {
	for _, h := range w.hosts[:w.plan.nodes] {
		h.start()
	}
	n := newNemesis(w)
	if w.plan.early || w.poll(formLimit, "form a cluster", n.converged) {
		formed := time.Now()
		w.disturb(n)
		w.disturbed = time.Since(formed)
	}
	close(w.halted)
	close(w.closing)
	w.running.Wait()
	time.Sleep(drain)
}

// disturb runs the clients and the faults, or the script, waits until the cluster serves
// again, and checks its data.
func (w *world) disturb(n *nemesis) {
	w.lying.Store(true)
	stop := make(chan struct{})
	var clients sync.WaitGroup
	for id := range w.plan.clients {
		c := newClient(w, id)
		clients.Go(func() { c.run(stop) })
	}
	if w.plan.clients > 0 {
		defer w.followAll()()
	}
	clients.Go(func() { w.watch(stop) })
	clients.Go(func() { w.setHistory(stop) })
	if w.plan.script != nil {
		w.plan.script(n)
	} else {
		n.run(w.plan.length)
	}
	n.end()
	ended := time.Now()
	healed := w.poll(healLimit, "serve again after the faults", func() error {
		for _, h := range n.members() {
			h.start() // a process may have died at the very end
		}
		return n.converged()
	})
	w.count.recovered(time.Since(ended))
	healed = healed && w.sleep(settle)
	close(stop)
	clients.Wait()
	if healed {
		w.settleIncrements(n)
		w.settleLeases(n)
		w.finish(n)
	}
}
