package discovery

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/kvorum/kvorum/internal/loglimit"
)

const (
	// gossipUpdateTimeout is the maximum time for sending a changed announcement to the
	// other nodes.
	gossipUpdateTimeout = 5 * time.Second
	// gossipGoodbye is the maximum time for telling the other nodes that this process ends.
	gossipGoodbye = time.Second
)

// liveNode is a process that gossip knows to be alive.
type liveNode struct {
	Announcement
	addr    string // at which its gossip is reached
	listSeq int    // the list that said so last
}

// Config configures Open. Addr and Advertise are required.
type Config struct {
	// Addr is the host:port that gossip binds, over UDP and TCP. Port 0 chooses a port
	// that is free for both.
	Addr string
	// Advertise is the host:port at which other nodes reach gossip; port 0 is the bound
	// port. A host name is looked up again while gossip runs, and may resolve later.
	Advertise string
	// Join lists the host:port of the gossip of other nodes, the seeds. They are asked
	// repeatedly; one that answers is enough.
	Join []string
	// Key, of 16, 24 or 32 bytes, encrypts gossip. Without a key gossip is not encrypted.
	Key []byte
	// Logger gets the log lines. Nil discards them.
	Logger *slog.Logger
	// LookupIP returns the addresses of a host name. Nil is the machine's resolver.
	LookupIP func(ctx context.Context, host string) ([]netip.Addr, error)
	// Foreign is called when a seed has answered three times in a row for another cluster,
	// and no node of this node's cluster was met since the start. Its argument matches
	// kv.ErrOtherCluster. A goroutine of the seed calls it. It may be nil.
	Foreign func(error)
}

// withDefaults returns the configuration with nil fields filled in.
func (c Config) withDefaults() Config {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.LookupIP == nil {
		c.LookupIP = func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		}
	}
	if c.Foreign == nil {
		c.Foreign = func(error) {}
	}
	return c
}

// Gossip exchanges announcements with other nodes. In memberlist each process has a name of
// its own. Otherwise a node that restarts at another address would be refused as long as
// its previous process is not known to be dead.
//
// All methods are safe for concurrent use.
type Gossip struct {
	cfg     Config
	log     *slog.Logger
	lines   *loglimit.Lines
	net     *gossipNet
	changed chan struct{} // of capacity one; filled whenever members have changed

	mu      sync.Mutex
	list    *memberlist.Memberlist // guarded by mu; replaced when the advertised address changes
	own     netip.AddrPort         // guarded by mu; the advertised address
	listSeq int                    // guarded by mu; number of the newest list
	self    Announcement           // guarded by mu
	live    map[string]liveNode    // guarded by mu; by memberlist's name of the process
	refused error                  // guarded by mu; reason of the last refused merge
	met     bool                   // guarded by mu; a node that is in no other cluster was met
	answers map[string]Answer      // guarded by mu; by seed

	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// Open binds cfg.Addr, announces self and begins to look for other nodes. Its goroutines end
// with ctx or with Close; Close must be called in any case. The error is that of an address
// that can't be bound, or of an announcement that does not fit a packet. An advertised name
// that does not resolve is no error.
func Open(ctx context.Context, cfg Config, self Announcement) (*Gossip, error) {
	if err := self.check(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	ctx, cancel := context.WithCancel(ctx)
	g := &Gossip{
		cfg: cfg, log: cfg.Logger, lines: loglimit.ForLoop(cfg.Logger), changed: make(chan struct{}, 1), self: self,
		live: map[string]liveNode{}, answers: map[string]Answer{}, cancel: cancel,
	}
	var err error
	if g.net, err = listenGossip(ctx, cfg.Addr, gossipLogger(cfg.Logger)); err != nil {
		cancel()
		return nil, fmt.Errorf("listen on gossip address %s: %w", cfg.Addr, err)
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

// gossipInterval is the time between two rounds in which memberlist passes news on, and looks
// whether there are any. Its own 0.2 s costs an idle node as much processor time as all
// else in this package. News of an address that comes 0.3 s later delays nothing.
const gossipInterval = 500 * time.Millisecond

// newList starts memberlist under a new name for this process.
func (g *Gossip) newList(advertised netip.AddrPort) (*memberlist.Memberlist, error) {
	suffix := make([]byte, 4)
	rand.Read(suffix) // never fails
	g.mu.Lock()
	g.listSeq++
	events := gossipEvents{g, g.listSeq}
	name := g.self.ID + "/" + hex.EncodeToString(suffix)
	g.mu.Unlock()
	conf := memberlist.DefaultLANConfig()
	conf.GossipInterval = gossipInterval
	conf.Name = name
	conf.Transport = g.net
	conf.BindPort = g.net.GetAutoBindPort()
	conf.AdvertiseAddr, conf.AdvertisePort = advertised.Addr().String(), int(advertised.Port())
	conf.Label = "kvorum"
	conf.SecretKey = g.cfg.Key
	conf.Logger = gossipLogger(g.log)
	conf.Delegate = gossipDelegate{g}
	conf.Events, conf.Alive, conf.Merge = events, events, events
	list, err := memberlist.Create(conf)
	if err != nil {
		g.mu.Lock()
		maps.DeleteFunc(g.live, func(_ string, node liveNode) bool { return node.listSeq == g.listSeq })
		g.listSeq--
		g.mu.Unlock()
	}
	return list, err
}

// Changed returns a channel that receives when Members may have changed. Several changes
// may cause one receive. One goroutine receives from the channel.
func (g *Gossip) Changed() <-chan struct{} { return g.changed }

// Addrs returns the host:port at which the gossip of each live process is reached, this one
// included, for the Join of another node.
func (g *Gossip) Addrs() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	var addrs []string
	for _, node := range g.live {
		addrs = append(addrs, node.addr)
	}
	return addrs
}

// SetCluster announces that this node belongs to a cluster from now on. The cluster's id has
// at most 64 bytes. SetCluster waits up to 5 s until the change is being sent. From then on
// nodes of other clusters are refused.
func (g *Gossip) SetCluster(cluster string) {
	g.mu.Lock()
	g.self.Cluster = cluster
	list := g.list
	g.mu.Unlock()
	if err := list.UpdateNode(gossipUpdateTimeout); err != nil {
		g.log.Warn("gossip not updated", "err", err)
	}
}

func (g *Gossip) announced() Announcement {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.self
}

// Members returns the announcements of live nodes by their ids, this node included. Of
// several processes with one id it has the newest. The map is the caller's.
func (g *Gossip) Members() map[string]Announcement {
	g.mu.Lock()
	defer g.mu.Unlock()
	newest := map[string]Announcement{g.self.ID: g.self}
	for _, node := range g.live {
		a := node.Announcement
		if old, ok := newest[a.ID]; !ok || a.Generation > old.Generation {
			newest[a.ID] = a
		}
	}
	return newest
}

// Close tells the other nodes, for a second at most, that this process ends. Then it ends
// gossip and waits for its goroutines. It is called once.
func (g *Gossip) Close() error { return g.close(gossipGoodbye) }

// close is Close with a limit on the time for telling the others. It is no error if they
// have not all been told: they will notice.
func (g *Gossip) close(goodbye time.Duration) error {
	g.cancel()
	g.wg.Wait() // from here on the list is not replaced
	list := g.current()
	if err := list.Leave(goodbye); err != nil {
		g.log.Debug("gossip's goodbye was not heard", "err", err)
	}
	return list.Shutdown()
}

// Addr returns the host:port at which others reach this node's gossip.
func (g *Gossip) Addr() string {
	// Memberlist's own copy of the address must not be read: memberlist writes it without
	// a lock whenever the node announces something.
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.own.String()
}

func (g *Gossip) current() *memberlist.Memberlist {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.list
}
