package discovery

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/kvorum/kvorum/kv"
)

const (
	// gossipRetry is the interval at which a node that knows no other asks its seeds.
	gossipRetry = time.Second
	// gossipGather is the interval at which a node in no cluster that knows others asks
	// its seeds.
	gossipGather = 3 * time.Second
	// gossipRejoin is the interval at which a node in a cluster asks its seeds, so that two
	// halves of a divided gossip find each other again.
	gossipRejoin = 30 * time.Second
	// maxStrangers is the number of attempts in a row at which a seed answered for another
	// cluster, after which Config.Foreign is called.
	maxStrangers = 3
	// maxSeedIPs is the maximum number of addresses of one name that are asked.
	maxSeedIPs = 16
	// lookupTimeout is the maximum time for looking up a host name.
	lookupTimeout = 5 * time.Second
)

// Answer is the last answer of one seed.
type Answer struct {
	Addr    string // as configured
	Reached bool   // gossip answers there
	Self    bool   // it is this node's own address
	Answer  string // in words; empty before the first answer
	foreign bool   // it belongs to another cluster
}

// seedLoop asks one seed repeatedly. A node that meets only strangers (nodes of other
// clusters) from the start has the wrong seeds or the wrong data directory. A node that has
// met its own cluster ignores strangers.
func (g *Gossip) seedLoop(ctx context.Context, seed string) {
	strangers := 0
	for {
		answer := g.ask(ctx, seed)
		if ctx.Err() != nil {
			return
		}
		g.mu.Lock()
		g.answers[seed] = answer
		cluster := g.self.Cluster
		g.mu.Unlock()
		strangers = g.onlyStrangers(answer, strangers)
		wait := gossipRetry
		switch {
		case g.current().NumMembers() == 1:
		case cluster == "":
			wait = gossipGather
		default:
			wait = gossipRejoin
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
	}
}

// onlyStrangers counts the attempts in a row in which a seed answered for another cluster
// while no node of this node's cluster was met. previous is their number before answer. At
// maxStrangers it calls Config.Foreign.
func (g *Gossip) onlyStrangers(answer Answer, previous int) int {
	g.mu.Lock()
	g.met = g.met || len(g.live) > 1
	met, refused := g.met, g.refused
	g.mu.Unlock()
	if !answer.foreign || met {
		return 0
	}
	if previous+1 == maxStrangers {
		g.cfg.Foreign(refused)
	}
	return previous + 1
}

// Asked returns the last answer of each seed, in the order of Config.Join. The slice is the
// caller's.
func (g *Gossip) Asked() []Answer {
	g.mu.Lock()
	defer g.mu.Unlock()
	var all []Answer
	for _, seed := range g.cfg.Join {
		answer := g.answers[seed]
		answer.Addr = seed
		if answer.Answer == "" && g.net.connected(seed) {
			answer.Answer = "connected, but no answer yet"
		}
		all = append(all, answer)
	}
	return all
}

// Join asks the gossip at addresses of other nodes, each a host:port, in their order until
// one answers. The error has the answer or failure of each of them.
func (g *Gossip) Join(addrs []string) error {
	var errs []error
	for _, addr := range addrs {
		answer := g.ask(g.net.ctx, addr)
		if answer.Reached {
			return nil
		}
		errs = append(errs, fmt.Errorf("%s: %s", addr, answer.Answer))
	}
	return errors.Join(errs...)
}

// ask looks a seed's name up and asks all of its addresses.
func (g *Gossip) ask(ctx context.Context, seed string) Answer {
	targets, err := g.lookup(ctx, seed)
	if err != nil {
		return Answer{Addr: seed, Answer: err.Error()}
	}
	targets = targets[:min(len(targets), maxSeedIPs)]
	answers := make([]Answer, len(targets))
	var asking sync.WaitGroup
	for i, target := range targets {
		asking.Go(func() { answers[i] = g.askOne(seed, target) })
	}
	asking.Wait()
	slices.SortStableFunc(answers, func(a, b Answer) int { return rankOf(a) - rankOf(b) })
	return answers[0]
}

// rankOf ranks answers: those of other nodes come first.
func rankOf(a Answer) int {
	switch {
	case a.Reached && !a.Self:
		return 0
	case a.Self:
		return 1
	}
	return 2
}

// askOne asks the gossip at one address.
func (g *Gossip) askOne(seed string, target netip.AddrPort) Answer {
	answer := Answer{Addr: seed}
	list := g.current()
	if own := target.String(); own == g.Addr() || own == g.net.bound() {
		answer.Reached, answer.Self, answer.Answer = true, true, "it is this node's own address"
		return answer
	}
	g.net.dialed(target.String())
	_, err := list.Join([]string{target.String()})
	if err == nil {
		answer.Reached, answer.Answer = true, "answers"
		return answer
	}
	answer.foreign = strings.Contains(err.Error(), kv.ErrOtherCluster.Error()) // memberlist does not wrap it
	answer.Answer = gossipReason(err, g.net.dialed(target.String()))
	return answer
}

// lookup returns the present addresses of a host:port. A name is looked up at each use,
// since another host may have the name now.
func (g *Gossip) lookup(ctx context.Context, addr string) ([]netip.AddrPort, error) {
	host, service, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("%q is not host:port", addr)
	}
	port, err := strconv.ParseUint(service, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("port of %q is not a number", addr)
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		return []netip.AddrPort{netip.AddrPortFrom(ip.Unmap(), uint16(port))}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	ips, err := g.cfg.LookupIP(ctx, host)
	if err == nil && len(ips) == 0 {
		err = errors.New("it has no address")
	}
	if err != nil {
		return nil, fmt.Errorf("its name does not resolve: %w", err)
	}
	var all []netip.AddrPort
	for _, ip := range ips {
		all = append(all, netip.AddrPortFrom(ip.Unmap(), uint16(port)))
	}
	if !strings.HasPrefix(g.net.bound(), "[") {
		slices.SortStableFunc(all, func(a, b netip.AddrPort) int { return a.Addr().BitLen() - b.Addr().BitLen() }) // IPv4 first
	}
	return all, nil
}

// gossipReason returns the reason, for an operator, why gossip at an address was not joined.
// err is memberlist's error, d the result of the dial.
func gossipReason(err error, d gossipDial) string {
	text := err.Error()
	switch {
	case d.err != nil:
		return DialReason(d.err)
	case bytes.HasPrefix(d.first, []byte("HTTP/")):
		return "no gossip answers there, but HTTP: compare the ports"
	case wrongKey(text) || strings.Contains(text, "decrypt"):
		return "another gossip key, or none: compare --gossip-key-file"
	case strings.Contains(text, kv.ErrOtherCluster.Error()):
		return "it is of another cluster"
	case strings.Contains(text, "EOF"), strings.Contains(text, "reset by peer"):
		return "the connection is closed without an answer: no gossip, or one with another key"
	case strings.Contains(text, "i/o timeout"):
		return "connected, but no answer: something else than gossip, or it hangs"
	case strings.Contains(text, "msgType"):
		return fmt.Sprintf("no gossip answers there: it says %q", d.first)
	}
	return text
}
