package cluster_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/cluster"
	"github.com/kvorum/kvorum/cluster/internal/clustertest"
	"github.com/kvorum/kvorum/internal/nodeid"
)

// liar is a Discovery that, while it is told to, says something else every time.
type liar struct {
	cluster.Discovery
	lie     *atomic.Bool
	changed chan struct{}
}

func (l *liar) Changed() <-chan struct{} { return l.changed }

// Members hides members, moves them, and invents nodes: at addresses where nobody
// is, and at those of members.
func (l *liar) Members() map[raft.ServerID]cluster.Announcement {
	all := l.Discovery.Members()
	if !l.lie.Load() {
		return all
	}
	var real []cluster.Announcement
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
		a := cluster.Announcement{ID: fmt.Sprintf("x%d.%x", rand.IntN(1000), rand.Uint64()), PeerAddr: nowhere(), HTTPAddr: nowhere(), Generation: rand.Uint64()}
		member := real[rand.IntN(len(real))]
		switch i % 4 {
		case 0:
			a.Cluster = member.Cluster
		case 1:
			a.PeerAddr = member.PeerAddr
		case 2:
			a.ID, a.PeerAddr = nodeid.NameOf(raft.ServerID(member.ID))+".0123456789abcdef", member.PeerAddr
		}
		all[raft.ServerID(a.ID)] = a
	}
	return all
}

// nowhere is an address of this host at which nobody listens.
func nowhere() string { return fmt.Sprintf("127.0.0.1:%d", 1+rand.IntN(500)) }

// lies is the number of changes that gossip tells of: for about 6 s.
const lies = 1200

// TestNode_LyingGossip has gossip say something else every few milliseconds: the
// configuration stays, writes continue, and nothing grows.
func TestNode_LyingGossip(t *testing.T) { // not parallel: it counts what the process has
	var lie atomic.Bool
	changed := make(chan struct{})
	nodes := clustertest.Open(t, 3, func(c *cluster.Config) {
		discover := c.Seams.Discover
		c.Seams.Discover = func(self cluster.Announcement) (cluster.Discovery, error) {
			d, err := discover(self)
			return &liar{d, &lie, changed}, err
		}
	})
	leader := clustertest.Leader(t, nodes)
	before := fmt.Sprint(configurationOf(t, leader))
	goroutines := runtime.NumGoroutine()
	lie.Store(true)
	writer := clustertest.WriteOn(t, nodes)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for range lies {
		select {
		case changed <- struct{}{}: // one of the nodes looks at once; all of them look once a second
		case <-time.After(10 * time.Second):
			t.Fatal("no node listens to gossip any more")
		}
		<-tick.C
	}
	writer.Stop()
	for _, n := range nodes {
		if got := fmt.Sprint(configurationOf(t, n)); got != before {
			t.Errorf("%s: the configuration is %s, it was %s", n.Config.Name, got, before)
		}
		book, err := os.ReadFile(filepath.Join(n.Config.DataDir, clustertest.BookFile))
		if entries := bytes.Count(book, []byte(`"peer_addr"`)); err != nil || entries > 3 {
			t.Errorf("%s: the book has %d entries, %v", n.Config.Name, entries, err)
		}
		if peers := len(n.Peers().Peers()); peers > 2 {
			t.Errorf("%s: %d peers", n.Config.Name, peers)
		}
	}
	lie.Store(false)
	if got := runtime.NumGoroutine(); got > 2*goroutines {
		t.Errorf("%d goroutines, %d before", got, goroutines)
	}
	for _, n := range nodes {
		clustertest.MustPut(t, n, "k", "")
	}
	for _, n := range nodes {
		// Who lost a connection finds the way, whatever is remembered of lies.
		for _, other := range nodes {
			if other != n {
				n.Peers().Forget(other.ID())
			}
		}
	}
	writer = clustertest.WriteOn(t, nodes)
	writer.Await(100)
	writer.Stop()
}

func configurationOf(t *testing.T, n *clustertest.Node) []raft.Server {
	t.Helper()
	return n.Replica().Servers()
}
