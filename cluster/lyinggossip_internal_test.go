package cluster

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// liar is a Discovery that, while it is told to, says something else every time.
type liar struct {
	Discovery
	lie     *atomic.Bool
	changed chan struct{}
}

func (l *liar) Changed() <-chan struct{} { return l.changed }

// Members hides members, moves them, and invents nodes: at addresses where nobody
// is, and at those of members.
func (l *liar) Members() map[raft.ServerID]Announcement {
	all := l.Discovery.Members()
	if !l.lie.Load() {
		return all
	}
	var real []Announcement
	for id, a := range all {
		real = append(real, a)
		switch rand.IntN(3) {
		case 0:
			delete(all, id)
		case 1:
			a.PeerAddr, a.HTTPAddr = nowhere(), nowhere()
			a.Generation += 1 + rand.Uint64N(1<<40)
			all[id] = a
		}
	}
	for i := range 40 {
		a := Announcement{ID: fmt.Sprintf("x%d.%x", rand.IntN(1000), rand.Uint64()), PeerAddr: nowhere(), HTTPAddr: nowhere(), Generation: rand.Uint64()}
		member := real[rand.IntN(len(real))]
		switch i % 4 {
		case 0:
			a.Cluster = member.Cluster
		case 1:
			a.PeerAddr = member.PeerAddr
		case 2:
			a.ID, a.PeerAddr = nameOf(announcedID(member))+".0123456789abcdef", member.PeerAddr
		}
		all[announcedID(a)] = a
	}
	return all
}

// nowhere is an address of this host at which nobody listens.
func nowhere() string { return fmt.Sprintf("127.0.0.1:%d", 1+rand.IntN(500)) }

// TestNode_LyingGossip has gossip say something else every few milliseconds: the
// configuration stays, writes go on, and nothing grows.
func TestNode_LyingGossip(t *testing.T) { // not parallel: it counts what the process has
	var lie atomic.Bool
	changed := make(chan struct{})
	nodes := openCluster(t, 3, func(c *Config) {
		discover := c.Seams.Discover
		c.Seams.Discover = func(self Announcement) (Discovery, error) {
			d, err := discover(self)
			return &liar{d, &lie, changed}, err
		}
	})
	leader := leaderOf(t, nodes)
	before := fmt.Sprint(configurationOf(t, leader))
	goroutines := runtime.NumGoroutine()
	lie.Store(true)
	stop := writeOn(t, nodes)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(6 * time.Second); time.Now().Before(deadline); {
		select {
		case <-tick.C:
		case changed <- struct{}{}:
			<-tick.C
		}
	}
	stop()
	for _, n := range nodes {
		if got := fmt.Sprint(configurationOf(t, n)); got != before {
			t.Errorf("%s: the configuration is %s, it was %s", n.cfg.Name, got, before)
		}
		if entries := len(n.book.All()); entries > 3 {
			t.Errorf("%s: the book has %d entries", n.cfg.Name, entries)
		}
		if peers := len(n.peers.Peers()); peers > 2 {
			t.Errorf("%s: %d peers", n.cfg.Name, peers)
		}
	}
	lie.Store(false)
	if got := runtime.NumGoroutine(); got > 2*goroutines {
		t.Errorf("%d goroutines, %d before", got, goroutines)
	}
	for _, n := range nodes {
		mustPut(t, n, "k", "")
	}
	for _, n := range nodes {
		// Who lost a connection finds the way, whatever is remembered of lies.
		for _, other := range nodes {
			if other != n {
				n.peers.Forget(other.id())
			}
		}
	}
	stop = writeOn(t, nodes)
	time.Sleep(2 * time.Second)
	stop()
}

func configurationOf(t *testing.T, n *Node) []raft.Server {
	t.Helper()
	r, err := n.joined()
	if err != nil {
		t.Fatal(err)
	}
	return r.servers()
}
