package cluster

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
	"github.com/hashicorp/raft"
	"github.com/kvorum/kvorum/internal/loglimit"
	"github.com/kvorum/kvorum/transport"
)

const (
	// gossipUpdateTimeout bounds telling the others that this node's announcement has changed.
	gossipUpdateTimeout = 5 * time.Second
	// gossipGoodbye bounds telling the others that this process goes.
	gossipGoodbye = time.Second
)

// Announcement is what a node tells the others through gossip. It is a hint:
// nothing but the address book and the leader's invitations rest on it.
type Announcement struct {
	ID         string `json:"i"`           // server id: name, dot, incarnation
	Cluster    string `json:"c,omitempty"` // empty while the node is in none
	PeerAddr   string `json:"p"`           // host:port
	HTTPAddr   string `json:"h"`           // host:port
	Generation uint64 `json:"g"`           // the greater one of two with one ID is newer
	Expect     int    `json:"e,omitempty"` // Config.BootstrapExpect
}

// liveNode is a process that gossip knows to be alive.
type liveNode struct {
	Announcement
	addr string // of its gossip
	run  int    // the list that said so last
}

var _ Discovery = (*gossip)(nil)

func (a Announcement) serverID() raft.ServerID { return raft.ServerID(a.ID) }

func (a Announcement) identity() transport.Identity {
	return transport.Identity{
		ID: a.serverID(), Cluster: a.Cluster, PeerAddr: a.PeerAddr, HTTPAddr: a.HTTPAddr, Generation: a.Generation,
	}
}

// gossip finds other nodes and tells them of this one. Under memberlist each
// process has a name of its own, so a node that restarts at another address is
// not taken for an impostor while its old self is not yet known to be dead.
type gossip struct {
	cfg   Config
	log   *slog.Logger
	lines *loglimit.Lines
	net   *gossipNet
	kick  chan struct{} // one slot; filled whenever members have changed

	// foreign is told when, since the start, only nodes of another cluster have answered.
	foreign func(error)

	mu      sync.Mutex
	list    *memberlist.Memberlist // guarded by mu; replaced when the advertised address changes
	own     netip.AddrPort         // guarded by mu; the advertised address
	run     int                    // guarded by mu; the number of the newest list
	self    Announcement           // guarded by mu
	live    map[string]liveNode    // guarded by mu; by memberlist's name of the process
	refused error                  // guarded by mu; why a merge was refused last
	met     bool                   // guarded by mu; a node of no other cluster has answered
	asked   map[string]seedAnswer  // guarded by mu; by Config.Join

	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// openGossip binds Config.GossipAddr and begins to look for the others.
func openGossip(ctx context.Context, cfg Config, self Announcement, foreign func(error)) (*gossip, error) {
	ctx, cancel := context.WithCancel(ctx)
	g := &gossip{
		cfg: cfg, log: cfg.Logger, lines: newLines(cfg.Logger), kick: make(chan struct{}, 1), self: self,
		live: map[string]liveNode{}, asked: map[string]seedAnswer{}, foreign: foreign, cancel: cancel,
	}
	var err error
	if g.net, err = listenGossip(ctx, cfg.GossipAddr, gossipLogger(cfg.Logger)); err != nil {
		cancel()
		return nil, fmt.Errorf("listen on gossip address %s: %w", cfg.GossipAddr, err)
	}
	advertised, err := g.advertised(ctx)
	if err == nil {
		g.own = advertised
		g.list, err = g.newList(advertised)
	}
	if err != nil {
		cancel()
		return nil, errors.Join(fmt.Errorf("start gossip: %w", err), g.net.NetTransport.Shutdown())
	}
	for _, seed := range cfg.Join {
		g.wg.Go(func() { g.seedLoop(ctx, seed) })
	}
	g.wg.Go(func() { g.advertiseLoop(ctx, advertised) })
	return g, nil
}

// newList starts memberlist under a new name for this process.
func (g *gossip) newList(advertised netip.AddrPort) (*memberlist.Memberlist, error) {
	suffix := make([]byte, 4)
	rand.Read(suffix) // never fails
	g.mu.Lock()
	g.run++
	events := gossipEvents{g, g.run}
	name := g.self.ID + "/" + hex.EncodeToString(suffix)
	g.mu.Unlock()
	conf := memberlist.DefaultLANConfig()
	conf.Name = name
	conf.Transport = g.net
	conf.BindPort = g.net.GetAutoBindPort()
	conf.AdvertiseAddr, conf.AdvertisePort = advertised.Addr().String(), int(advertised.Port())
	conf.Label = "kvorum"
	conf.SecretKey = g.cfg.GossipKey
	conf.Logger = gossipLogger(g.log)
	conf.Delegate = gossipDelegate{g}
	conf.Events, conf.Alive, conf.Merge = events, events, events
	list, err := memberlist.Create(conf)
	if err != nil {
		g.mu.Lock()
		maps.DeleteFunc(g.live, func(_ string, node liveNode) bool { return node.run == g.run })
		g.run--
		g.mu.Unlock()
	}
	return list, err
}

// Changed implements Discovery.
func (g *gossip) Changed() <-chan struct{} { return g.kick }

// Addrs returns where the gossip of live nodes is bound, this one included.
func (g *gossip) Addrs() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	var addrs []string
	for _, node := range g.live {
		addrs = append(addrs, node.addr)
	}
	return addrs
}

// SetCluster announces that this node now belongs to a cluster.
func (g *gossip) SetCluster(cluster string) {
	g.mu.Lock()
	g.self.Cluster = cluster
	list := g.list
	g.mu.Unlock()
	if err := list.UpdateNode(gossipUpdateTimeout); err != nil {
		g.log.Warn("gossip not updated", "err", err)
	}
}

func (g *gossip) announced() Announcement {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.self
}

// Members returns what live nodes announce, this one included; of several
// processes with one id the newest.
func (g *gossip) Members() map[raft.ServerID]Announcement {
	g.mu.Lock()
	defer g.mu.Unlock()
	newest := map[raft.ServerID]Announcement{g.self.serverID(): g.self}
	for _, node := range g.live {
		a := node.Announcement
		if old, ok := newest[a.serverID()]; !ok || a.Generation > old.Generation {
			newest[a.serverID()] = a
		}
	}
	return newest
}

// Close tells the others that this process goes, and ends gossip.
func (g *gossip) Close() error { return g.close(gossipGoodbye) }

// close is Close with as much time to tell the others. That they have not all
// been told is no error: they find out.
func (g *gossip) close(goodbye time.Duration) error {
	g.cancel()
	g.wg.Wait() // nobody replaces the list any more
	list := g.current()
	if err := list.Leave(goodbye); err != nil {
		g.log.Debug("gossip's goodbye was not heard", "err", err)
	}
	return list.Shutdown()
}

// Addr returns the address that others reach this node's gossip at. Memberlist's
// own record of it must not be read: it is written without a lock whenever the
// node announces something.
func (g *gossip) Addr() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.own.String()
}

func (g *gossip) current() *memberlist.Memberlist {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.list
}

func decodeAnnouncement(meta []byte) (Announcement, error) {
	var a Announcement
	if err := json.Unmarshal(meta, &a); err != nil {
		return a, fmt.Errorf("announcement: %w", err)
	}
	if a.ID == "" || len(a.PeerAddr) > maxAddressBytes || len(a.HTTPAddr) > maxAddressBytes {
		return a, errors.New("announcement: names no node or too long an address")
	}
	return a, nil
}
