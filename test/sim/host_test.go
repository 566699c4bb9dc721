package sim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/cluster"
	"github.com/kvorum/kvorum/cluster/replica"
	"github.com/kvorum/kvorum/fsm"
	"github.com/kvorum/kvorum/internal/testkit"
	"github.com/kvorum/kvorum/kv"
	"github.com/kvorum/kvorum/wal"
	"github.com/kvorum/kvorum/wal/crashfs"
)

const (
	dataDir = "/srv/data"
	// firstPort is the port on which a host's first process listens for its peers.
	firstPort = 7001
	// restartDelay is the time for which a process that ended by itself is down.
	restartDelay = time.Second
)

// death is how a process ends.
type death int

const (
	killed    death = iota // all written data is there, synced or not
	powerLost              // data that was not synced is lost, all or a part
)

// host is one machine: its disk outlives the processes that run on it.
type host struct {
	w      *world
	name   string
	expect int  // number of nodes that form the first cluster together; 0 for a host that is added
	copy   bool // its disk is a copy of another host's of the same name
	clock  *testkit.Clock

	mu      sync.Mutex
	rng     *rand.Rand  // guarded by mu
	files   *crashfs.FS // guarded by mu; the files of the next process
	port    int         // guarded by mu; on which it listens
	proc    *proc       // guarded by mu; nil while no process lives
	leaving bool        // guarded by mu; it may find itself removed
	replica bool        // guarded by mu; it never votes
	loss    tailLoss    // guarded by mu; the part of the log that its disk has lost
	aside   bool        // guarded by mu; an incarnation's files were set aside
	discard bool        // guarded by mu; its disk is wiped when its process is dead
	held    bool        // guarded by mu; only release starts it
	build   build       // guarded by mu
}

// proc is one run of a node.
type proc struct {
	host  *host
	peer  string // its address
	net   *endpoint
	disk  *disk
	dead  chan struct{} // closed by die
	stop  chan struct{} // closed by shut
	ended chan struct{} // closed when the process has ended
	ctx   context.Context
	end   context.CancelFunc // of ctx

	confirming sync.WaitGroup // calls of plan.confirm

	mu     sync.Mutex
	node   *cluster.Node // guarded by mu; nil until it is open
	over   bool          // guarded by mu; plan.confirm is not called any more
	shut   bool          // guarded by mu; stop is closed
	clean  bool          // guarded by mu; it has closed its node without an error
	faulty bool          // guarded by mu; its disk has been told to fail
}

// start runs a node on the host's disk, unless one runs or the host is held down.
func (h *host) start() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.proc != nil || h.held {
		return
	}
	dead := make(chan struct{})
	if h.w.plan.moves {
		h.port++
	}
	p := &proc{host: h, peer: fmt.Sprintf("%s:%d", h.name, h.port), dead: dead, stop: make(chan struct{}), ended: make(chan struct{}), net: h.w.net.attach(h.name)}
	p.disk = newDisk(h.files, rand.New(rand.NewPCG(h.rng.Uint64(), 0)), dead)
	p.ctx, p.end = context.WithCancel(context.Background())
	h.proc = p
	h.w.net.power(h.name, true)
	h.w.running.Add(1)
	go p.run()
}

// hold keeps the host's process down once it has ended, because its disk will be changed.
// It also prevents delayed starts.
func (h *host) hold() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.held = true
}

// release starts the host after hold.
func (h *host) release() {
	h.mu.Lock()
	h.held = false
	h.mu.Unlock()
	h.start()
}

// joinAs gives the host, which must be down, an empty disk, and determines whether its node
// will be a read replica. A node that the first cluster expects always votes.
func (h *host) joinAs(replica bool) {
	h.wipe()
	h.chooseBuild()
	h.setLeaving(false)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.replica = replica && h.expect == 0
}

// votes reports whether the host's node is a voter.
func (h *host) votes() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return !h.replica
}

// twin returns a host whose disk is a copy of that of a living process, nil if
// none lives. No process runs on it yet.
func (h *host) twin() *host {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.proc == nil {
		return nil
	}
	return &host{
		w: h.w, name: h.name, expect: h.expect, copy: true, clock: h.clock, build: h.build, port: firstPort + 1000,
		rng: rand.New(rand.NewPCG(h.rng.Uint64(), 0)), files: h.proc.disk.fs.Clone(),
	}
}

// setLeaving sets whether the host's node may find itself removed.
func (h *host) setLeaving(leaving bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.leaving = leaving
}

// live returns the node that runs on the host, and its process, nil if there is none yet.
func (h *host) live() (*cluster.Node, *proc) {
	h.mu.Lock()
	p := h.proc
	h.mu.Unlock()
	if p == nil {
		return nil, nil
	}
	return p.opened(), p
}

// isDead reports whether the process has died: then its answers must be ignored.
func (p *proc) isDead() bool { return p.disk.isDead() }

// opened returns the node once it is open, and nil again when it is shut down.
func (p *proc) opened() *cluster.Node {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.shut {
		return nil
	}
	return p.node
}

// die ends the host's process at once, if there is one.
func (h *host) die(how death) {
	h.mu.Lock()
	p := h.proc
	h.mu.Unlock()
	if p != nil {
		p.die(how)
	}
}

// die ends the process at once: its later actions reach no disk, no peer and no client. It
// returns false if the process had died before. It does not wait.
func (p *proc) die(how death) bool {
	h := p.host
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.proc != p {
		return false
	}
	h.proc = nil
	// In this order, so that no client or peer hears of data that the disk does not have.
	close(p.dead)
	p.end()
	p.net.kill(how == powerLost)
	if how == killed {
		h.files = p.disk.fs.Clone()
	} else {
		keep := []float64{0, 0.5, 0.9}[h.rng.IntN(3)]
		if h.w.plan.forgetful {
			keep = 0 // otherwise the log finds the holes itself, and its node does not start
		}
		h.files = p.disk.fs.Crash(crashfs.CrashOptions{Keep: keep, Rand: h.rng})
	}
	if h.discard {
		h.files, h.loss, h.discard = crashfs.New(), nothingLost, false
		h.w.count.wipes.Add(1)
	}
	h.w.trace.add("%s ends (%v)", h.name, map[death]string{killed: "killed", powerLost: "power lost"}[how])
	return true
}

// wipe gives the host, which must be down, an empty disk.
func (h *host) wipe() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.files, h.loss = crashfs.New(), nothingLost
}

// fail makes the process's disk fail at its nth change from now.
func (p *proc) fail(n int, rng *rand.Rand) {
	p.mu.Lock()
	p.faulty = true
	p.mu.Unlock()
	p.disk.arm(n, func(op crashfs.Op) error {
		err := fault(op, rng)
		p.host.w.trace.add("%s: disk fails %v: %v", p.host.name, op, err)
		return err
	})
}

// dieAt makes the process end before its disk's nth change from now.
func (p *proc) dieAt(n int, how death) {
	p.disk.arm(n, func(op crashfs.Op) error {
		p.host.w.trace.add("%s: ends before %v", p.host.name, op)
		p.die(how)
		return nil
	})
}

// run is the life of a process.
func (p *proc) run() {
	defer p.host.w.running.Done()
	defer close(p.ended)
	defer p.die(killed)
	node, err := cluster.Open(p.ctx, p.config())
	if err != nil {
		p.stopped(err)
		return
	}
	p.mu.Lock()
	p.node = node
	p.mu.Unlock()
	p.host.w.trace.add("%s is open", p.host.name)
	p.host.openedAfterLoss()
	select {
	case <-node.Fatal():
		p.stopped(node.Err())
	case <-p.dead:
	case <-p.stop:
		err := p.close(node)
		p.mu.Lock()
		p.clean = err == nil
		p.mu.Unlock()
		return
	case <-p.host.w.closing:
		if err := p.close(node); err != nil && !p.mayFail() {
			p.host.w.violate("close %s: %v", p.host.name, err)
		}
		return
	}
	_ = p.close(node) // the error of a dead process does not matter
}

// close closes the node. It waits for calls of VerifyLeader first: one that raft has not
// handled before its shutdown would never return.
func (p *proc) close(node *cluster.Node) error {
	p.mu.Lock()
	p.over = true
	p.mu.Unlock()
	p.confirming.Wait()
	return node.Close()
}

// confirm is plan.confirm for this process.
func (p *proc) confirm(r *raft.Raft) error {
	p.mu.Lock()
	over := p.over
	if !over {
		p.confirming.Add(1)
	}
	p.mu.Unlock()
	if over {
		return kv.ErrClosed
	}
	defer p.confirming.Done()
	return p.host.w.plan.confirm(r)
}

// stopped checks the reason why a process ended by itself, and starts it again.
func (p *proc) stopped(err error) {
	h := p.host
	if p.isDead() {
		return // it only noticed its death
	}
	h.w.trace.add("%s stops: %v", h.name, err)
	h.mu.Lock()
	leaving := h.leaving
	h.mu.Unlock()
	switch {
	case errors.Is(err, kv.ErrRemoved) && leaving:
	case h.noticedLoss(err):
	case p.mayFail():
	case errors.Is(err, cluster.ErrDuplicate) && h.copy:
	case errors.Is(err, cluster.ErrRestart) && !errors.As(err, new(*cluster.DivergenceError)) && !errors.As(err, new(*cluster.LostTailError)):
		h.w.count.restarts.Add(1)
	default:
		h.w.violate("%s stops without a reason: %v", h.name, err)
	}
	if p.die(killed) && !errors.Is(err, kv.ErrRemoved) && !h.copy {
		h.w.after(restartDelay, h.start)
	}
}

func (p *proc) mayFail() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.faulty
}

func (p *proc) config() cluster.Config {
	h := p.host
	build := h.runs()
	var files wal.FS = p.disk.fs
	if h.w.plan.forgetful {
		files = forgetful{files, &h.w.lying}
	}
	var confirm func(*raft.Raft) error
	if h.w.plan.confirm != nil {
		confirm = p.confirm
	}
	var state fsm.Seams
	if h.w.plan.state != nil {
		state = h.w.plan.state(h.name)
	}
	return cluster.Config{
		Name: h.name, DataDir: dataDir, FS: files,
		PeerListener:  p.net.listen(p.peer),
		AdvertisePeer: p.peer, AdvertiseHTTP: h.name + ":8001", GossipAddr: h.name + ":6001",
		BootstrapExpect: h.expect, Join: []string{"n1:6001"},
		SnapshotBytes: h.w.plan.snapshotBytes, SnapshotBytesPerSecond: h.w.plan.snapshotRate,
		PipelineWindow: h.w.plan.window, NonVoter: !h.votes(), MaxValueBytes: h.w.plan.maxValue,
		MaxCommandVersion: build.announces, CheckpointInterval: h.w.plan.checkpoints,
		Logger: h.w.trace.logger(h.name, h.w.count),
		Seams: cluster.Seams{
			Dial: p.net.dial,
			Discover: func(self cluster.Announcement) (cluster.Discovery, error) {
				return h.w.hub.open(h.name, self), nil
			},
			LockDir:        func(string) (io.Closer, error) { return io.NopCloser(nil), nil },
			CommandVersion: build.understands,
			State:          state,
			Seams: replica.Seams{
				OpenStable: func(path string) (raft.StableStore, io.Closer, error) {
					return openModelStable(files, path)
				},
				ConfirmLeader: confirm,
				Clock:         h.clock.Wall,
				Elapsed:       h.clock.Elapsed,
				CountAsker:    h.w.plan.countAsker,
				AllowVersion:  h.w.plan.allowVersion,
				OwnClock:      h.w.plan.ownClock,
				Rearm:         h.w.plan.rearm,
				Hasty:         h.w.plan.hasty,
				OpenLog:       func(opts *wal.Options) { opts.IgnoreEnd = h.w.plan.ignoreEnd },
			},
		},
	}
}
