package discovery

import (
	"context"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/hashicorp/memberlist"
)

const (
	// advertiseLookup is the maximum time that the start of a node waits for its
	// own advertised name.
	advertiseLookup = time.Second
	// advertiseEvery is the interval at which the advertised name is looked up again.
	advertiseEvery = 10 * time.Second
	// advertiseRetry is the first interval after a failure. It doubles with each further
	// failure, up to advertiseRetryMost.
	advertiseRetry, advertiseRetryMost = time.Second, 4 * time.Second
)

// advertised returns the present address at which other nodes reach this node's gossip. It
// is the bound address while the name does not resolve.
func (g *Gossip) advertised(ctx context.Context) (netip.AddrPort, error) {
	bound, err := netip.ParseAddrPort(g.net.bound())
	if err != nil {
		return bound, err
	}
	ctx, cancel := context.WithTimeout(ctx, advertiseLookup)
	defer cancel()
	now, err := g.lookupAdvertised(ctx)
	if err != nil {
		fallback := netip.AddrPortFrom(hostAddr(bound.Addr()), bound.Port())
		g.unresolved(err, fallback)
		return fallback, nil
	}
	return now[0], nil
}

// lookupAdvertised returns the present addresses of the advertised name. Port 0
// means the bound one.
func (g *Gossip) lookupAdvertised(ctx context.Context) ([]netip.AddrPort, error) {
	now, err := g.lookup(ctx, g.cfg.Advertise)
	for i, addr := range now {
		if addr.Port() == 0 {
			now[i] = netip.AddrPortFrom(addr.Addr(), uint16(g.net.GetAutoBindPort()))
		}
	}
	return now, err
}

func (g *Gossip) unresolved(err error, instead netip.AddrPort) {
	g.lines.Log(slog.LevelWarn, g.cfg.Advertise, "advertised gossip address not found", "addr", g.cfg.Advertise,
		"err", err, "advertised", instead.String())
}

// advertiseLoop follows the advertised name when its address changes.
func (g *Gossip) advertiseLoop(ctx context.Context, present netip.AddrPort) {
	host, _, _ := net.SplitHostPort(g.cfg.Advertise) // advertised has already parsed it
	if _, err := netip.ParseAddr(host); err == nil {
		return
	}
	wait := advertiseRetry
	for {
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
		now, err := g.lookupAdvertised(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			g.unresolved(err, present)
			wait = min(2*wait, advertiseRetryMost)
			continue
		}
		wait = advertiseEvery
		g.lines.Over(g.cfg.Advertise, "advertised gossip address found", "addr", g.cfg.Advertise)
		if slices.Contains(now, present) {
			continue
		}
		if err := g.readvertise(now[0]); err != nil {
			g.lines.Log(slog.LevelWarn, "change", "advertised gossip address not changed", "from", present.String(), "to", now[0].String(), "err", err)
			continue
		}
		g.log.Info("advertised gossip address changed", "addr", g.cfg.Advertise, "from", present.String(), "to", now[0].String())
		present = now[0]
	}
}

// readvertise announces this process at another address. Memberlist refuses a known name
// at another address, so the process gets another name, on the same sockets. The new list
// starts before the old one says goodbye.
func (g *Gossip) readvertise(to netip.AddrPort) error {
	announced := g.announced()
	list, err := g.newList(to)
	if err != nil {
		return err
	}
	return g.replaceList(list, to, announced)
}

// replaceList replaces the present list by list, which announces this process at another
// address. announced is this node's announcement when list was made.
func (g *Gossip) replaceList(list *memberlist.Memberlist, to netip.AddrPort, announced Announcement) error {
	addrs := g.Addrs()
	g.mu.Lock()
	old := g.list
	g.list, g.own = list, to
	late := g.self != announced // perhaps only the old list knows the change
	g.mu.Unlock()
	if late {
		if err := list.UpdateNode(gossipUpdateTimeout); err != nil {
			g.log.Warn("gossip not updated", "err", err)
		}
	}
	if _, err := list.Join(addrs); err != nil {
		g.log.Debug("others not told of the new gossip address yet", "err", err) // the seeds are asked too
	}
	g.mu.Lock()
	maps.DeleteFunc(g.live, func(_ string, node liveNode) bool { return node.listSeq != g.listSeq })
	g.mu.Unlock()
	if err := old.Leave(gossipGoodbye); err != nil {
		g.log.Debug("gossip's goodbye was not heard", "err", err)
	}
	g.net.keepOpen.Store(true)
	defer g.net.keepOpen.Store(false)
	return old.Shutdown()
}
