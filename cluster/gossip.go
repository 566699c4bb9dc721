package cluster

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
	"github.com/hashicorp/raft"
	"github.com/kvorum/kvorum/internal/loglimit"
	"github.com/kvorum/kvorum/transport"
)

const (
	// gossipRetry is how often a node that knows no other tries its seeds.
	gossipRetry = time.Second
	// gossipRejoin is how often a node that knows others still asks its seeds, so
	// that two halves of a divided gossip find each other again.
	gossipRejoin = 30 * time.Second
	// maxStrangers is after how many attempts that met only another cluster a node gives up.
	maxStrangers = 3
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
	log   *slog.Logger
	list  *memberlist.Memberlist
	seeds []string
	kick  chan struct{} // one slot; filled whenever members have changed

	// foreign is told when, since the start, only nodes of another cluster have answered.
	foreign func(error)

	mu      sync.Mutex
	self    Announcement        // guarded by mu
	live    map[string]liveNode // guarded by mu; by memberlist's name of the process
	refused error               // guarded by mu; why a merge of the last attempt to join was refused

	wg sync.WaitGroup
}

// openGossip binds addr and begins to look for the others at seeds.
func openGossip(ctx context.Context, cfg Config, self Announcement, foreign func(error)) (*gossip, error) {
	g := &gossip{log: cfg.Logger, seeds: cfg.Join, kick: make(chan struct{}, 1), self: self, live: map[string]liveNode{}, foreign: foreign}
	conf, err := g.memberlistConfig(cfg)
	if err != nil {
		return nil, err
	}
	if g.list, err = memberlist.Create(conf); err != nil {
		return nil, fmt.Errorf("listen on gossip address %s: %w", cfg.GossipAddr, err)
	}
	g.wg.Go(func() { g.joinLoop(ctx) })
	return g, nil
}

func (g *gossip) memberlistConfig(cfg Config) (*memberlist.Config, error) {
	bindHost, bindPort, err := resolveHostPort(cfg.GossipAddr)
	if err != nil {
		return nil, fmt.Errorf("gossip address: %w", err)
	}
	advHost, advPort, err := resolveHostPort(cfg.AdvertiseGossip)
	if err != nil {
		return nil, fmt.Errorf("advertised gossip address: %w", err)
	}
	suffix := make([]byte, 4)
	if _, err := rand.Read(suffix); err != nil {
		return nil, fmt.Errorf("name this process: %w", err)
	}
	conf := memberlist.DefaultLANConfig()
	conf.Name = g.self.ID + "/" + hex.EncodeToString(suffix)
	conf.BindAddr, conf.BindPort = bindHost, bindPort
	conf.AdvertiseAddr, conf.AdvertisePort = advHost, advPort
	conf.Label = "kvorum"
	conf.SecretKey = cfg.GossipKey
	conf.Logger = gossipLogger(cfg.Logger)
	conf.Delegate = gossipDelegate{g}
	conf.Events = gossipEvents{g}
	conf.Alive = gossipEvents{g}
	conf.Merge = gossipEvents{g}
	return conf, nil
}

// resolveHostPort splits addr and looks its host up: memberlist wants IPs.
func resolveHostPort(addr string) (ip string, port int, err error) {
	host, service, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0, fmt.Errorf("%q is not host:port", addr)
	}
	if port, err = strconv.Atoi(service); err != nil {
		return "", 0, fmt.Errorf("port of %q is not a number", addr)
	}
	if host == "" {
		host = "0.0.0.0"
	}
	resolved, err := net.ResolveIPAddr("ip", host)
	if err != nil {
		return "", 0, fmt.Errorf("look up %q: %w", host, err)
	}
	return resolved.IP.String(), port, nil
}

// joinLoop asks the seeds until others are known, and now and then after that.
// A node that meets only strangers from the start was started with the wrong
// seeds or on the wrong data directory; one that has met its own goes on.
func (g *gossip) joinLoop(ctx context.Context) {
	if len(g.seeds) == 0 {
		return
	}
	met, strangers := false, 0
	lonely := loglimit.Limiter{Every: repeatEvery}
	for {
		err := g.Join(g.seeds)
		wait := gossipRejoin
		if g.list.NumMembers() > 1 {
			met = true
		} else if wait = gossipRetry; err != nil {
			if leftOut, ok := lonely.Allow(""); ok {
				g.log.Info("no other node found yet", "join", g.seeds, "err", err, "left_out", leftOut)
			}
		}
		if refused := g.lastRefused(); refused == nil || met {
			strangers = 0
		} else if strangers++; strangers == maxStrangers {
			g.foreign(refused)
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
	}
}

// Join asks the gossip of other nodes, of which one that answers is enough.
func (g *gossip) Join(addrs []string) error {
	g.mu.Lock()
	g.refused = nil
	g.mu.Unlock()
	_, err := g.list.Join(addrs)
	return err
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
	g.mu.Unlock()
	if err := g.list.UpdateNode(gossipUpdateTimeout); err != nil {
		g.log.Warn("gossip not updated", "err", err)
	}
}

func (g *gossip) announced() Announcement {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.self
}

func (g *gossip) lastRefused() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.refused
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

// Close tells the others that this process goes, and ends gossip. The loop's
// context must have ended.
func (g *gossip) Close() error { return g.close(gossipGoodbye) }

// close is Close with as much time to tell the others. That they have not all
// been told is no error: they find out.
func (g *gossip) close(goodbye time.Duration) error {
	if err := g.list.Leave(goodbye); err != nil {
		g.log.Debug("gossip's goodbye was not heard", "err", err)
	}
	err := g.list.Shutdown()
	g.wg.Wait()
	return err
}

// Addr returns the address that gossip is bound to.
func (g *gossip) Addr() string { return g.list.LocalNode().Address() }

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

// gossipDelegate hands memberlist this node's announcement.
type gossipDelegate struct{ g *gossip }

// NodeMeta implements memberlist.Delegate. Config.Validate keeps an
// announcement below limit.
func (d gossipDelegate) NodeMeta(limit int) []byte {
	meta, err := json.Marshal(d.g.announced())
	if err != nil || len(meta) > limit {
		panic(fmt.Sprintf("cluster: announcement of %d bytes, limit %d: %v", len(meta), limit, err))
	}
	return meta
}

// NotifyMsg implements memberlist.Delegate.
func (gossipDelegate) NotifyMsg([]byte) {}

// GetBroadcasts implements memberlist.Delegate.
func (gossipDelegate) GetBroadcasts(int, int) [][]byte { return nil }

// LocalState implements memberlist.Delegate.
func (gossipDelegate) LocalState(bool) []byte { return nil }

// MergeRemoteState implements memberlist.Delegate.
func (gossipDelegate) MergeRemoteState([]byte, bool) {}

// gossipEvents keeps who is alive and keeps nodes of other clusters out.
// Its methods run under memberlist's locks and must not block.
type gossipEvents struct{ g *gossip }

// NotifyJoin implements memberlist.EventDelegate.
func (e gossipEvents) NotifyJoin(node *memberlist.Node) { e.saw(node, true) }

// NotifyLeave implements memberlist.EventDelegate.
func (e gossipEvents) NotifyLeave(node *memberlist.Node) { e.saw(node, false) }

// NotifyUpdate implements memberlist.EventDelegate.
func (e gossipEvents) NotifyUpdate(node *memberlist.Node) { e.saw(node, true) }

// saw keeps what a node announces. Memberlist goes on to change its Node, so
// what it says must be read here, under memberlist's lock.
func (e gossipEvents) saw(node *memberlist.Node, alive bool) {
	a, err := decodeAnnouncement(node.Meta)
	e.g.mu.Lock()
	delete(e.g.live, node.Name)
	if alive && err == nil {
		e.g.live[node.Name] = liveNode{a, node.Address()}
	}
	e.g.mu.Unlock()
	select {
	case e.g.kick <- struct{}{}:
	default:
	}
}

// NotifyAlive implements memberlist.AliveDelegate.
func (e gossipEvents) NotifyAlive(peer *memberlist.Node) error { return e.check(peer) }

// NotifyMerge implements memberlist.MergeDelegate.
func (e gossipEvents) NotifyMerge(peers []*memberlist.Node) error {
	var err error
	for _, peer := range peers {
		if err = e.check(peer); err != nil {
			break
		}
	}
	if err != nil {
		e.g.mu.Lock()
		e.g.refused = err
		e.g.mu.Unlock()
	}
	return err
}

// check refuses a node that belongs to another cluster than this one.
func (e gossipEvents) check(peer *memberlist.Node) error {
	a, err := decodeAnnouncement(peer.Meta)
	if err != nil {
		return err
	}
	self := e.g.announced()
	if self.Cluster != "" && a.Cluster != "" && a.Cluster != self.Cluster {
		return fmt.Errorf("%w: %s at %s is of cluster %s, this node of %s",
			ErrOtherCluster, nameOf(a.serverID()), a.PeerAddr, a.Cluster, self.Cluster)
	}
	return nil
}
