//go:build linux

package lab

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// closeTimeout is the maximum wait for the end of killed processes.
const closeTimeout = 20 * time.Second

// lab is the Lab of the kinds namespaces and proxy.
type lab struct {
	cfg   Config
	kind  string
	hosts []*host
	net   network
	claim *claim
	tools *keeper // starts programs that watch or change processes from outside
	*exits

	mu     sync.Mutex
	closed bool // guarded by mu
}

// network is the network between the hosts, which differs by kind.
type network interface {
	// attach gives a host its keeper and its addresses.
	attach(h *host) error
	place(h *host) Place
	// cut and shape change the packets from one host to another, until heal.
	cut(from, to *host) error
	shape(from, to *host, how Shape) error
	heal() error
	readdress(h *host) error
	// close removes the network. All processes have ended, and keepers end afterwards.
	close() error
}

var _ Lab = (*lab)(nil)

// Open makes a Lab of stopped hosts. It returns an ErrBusy if there is another Lab on this
// machine. It first removes the things that a dead run has left.
func Open(ctx context.Context, cfg Config) (Lab, error) {
	cfg, err := cfg.resolve()
	if err != nil {
		return nil, fmt.Errorf("open lab: %w", err)
	}
	claim, err := claimMachine()
	if err != nil {
		return nil, fmt.Errorf("open lab: %w", err)
	}
	l, err := openKind(ctx, cfg, claim)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open lab: %w", err), claim.release())
	}
	cfg.Logger.Info("lab is open", "kind", l.kind, "hosts", len(l.hosts))
	return l, nil
}

// openKind opens the kind that was asked for, or the best possible one.
func openKind(ctx context.Context, cfg Config, c *claim) (*lab, error) {
	switch cfg.Kind {
	case KindNamespaces:
		return openWith(ctx, cfg, c, KindNamespaces, newNamespaces)
	case KindProxy:
		return openWith(ctx, cfg, c, KindProxy, newProxies)
	case "":
		l, err := openWith(ctx, cfg, c, KindNamespaces, newNamespaces)
		if err == nil || ctx.Err() != nil {
			return l, err
		}
		cfg.Logger.Info("no namespaces here: hosts share the loopback network, behind proxies", "reason", err)
		return openWith(ctx, cfg, c, KindProxy, newProxies)
	}
	return nil, fmt.Errorf("no kind of lab is called %q", cfg.Kind)
}

func openWith(ctx context.Context, cfg Config, c *claim, kind string, newNetwork func(*lab) (network, error)) (*lab, error) {
	l := &lab{cfg: cfg, kind: kind, claim: c, exits: newExits()}
	for i := range cfg.Initial + cfg.Spare {
		l.hosts = append(l.hosts, newHost(l, i))
	}
	if err := l.build(ctx, newNetwork); err != nil {
		return nil, errors.Join(err, l.takeDown())
	}
	return l, nil
}

// build makes the network and the things of each host.
func (l *lab) build(ctx context.Context, newNetwork func(*lab) (network, error)) (err error) {
	if l.tools, err = newKeeper(0); err != nil {
		return err
	}
	if l.net, err = newNetwork(l); err != nil {
		return err
	}
	for _, h := range l.hosts {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := l.net.attach(h); err != nil {
			return fmt.Errorf("host %s: %w", h.name, err)
		}
		if err := errors.Join(h.openDisk(), h.openCgroup()); err != nil {
			return fmt.Errorf("host %s: %w", h.name, err)
		}
	}
	return nil
}

// Kind implements Lab.
func (l *lab) Kind() string { return l.kind }

// Hosts implements Lab.
func (l *lab) Hosts() []Host {
	hosts := make([]Host, len(l.hosts))
	for i, h := range l.hosts {
		hosts[i] = h
	}
	return hosts
}

// Initial implements Lab.
func (l *lab) Initial() int { return l.cfg.Initial }

// CutsOneWay implements Lab.
func (l *lab) CutsOneWay() bool { return true }

// Cut implements Lab.
func (l *lab) Cut(_ context.Context, from, to Host) error {
	a, b, err := l.pair(from, to)
	if err == nil {
		err = l.net.cut(a, b)
	}
	if err != nil {
		return fmt.Errorf("cut %s from %s: %w", to.Name(), from.Name(), err)
	}
	return nil
}

// Shape implements Lab.
func (l *lab) Shape(_ context.Context, from, to Host, how Shape) error {
	a, b, err := l.pair(from, to)
	if err == nil {
		err = how.validate()
	}
	if err == nil {
		err = l.net.shape(a, b, how)
	}
	if err != nil {
		return fmt.Errorf("shape what %s sends to %s: %w", from.Name(), to.Name(), err)
	}
	return nil
}

// Heal implements Lab.
func (l *lab) Heal(context.Context) error {
	if err := l.net.heal(); err != nil {
		return fmt.Errorf("heal the network: %w", err)
	}
	return nil
}

// pair returns two different hosts of this Lab.
func (l *lab) pair(from, to Host) (*host, *host, error) {
	a, okA := from.(*host)
	b, okB := to.(*host)
	if !okA || !okB || a.lab != l || b.lab != l || a == b {
		return nil, nil, errors.New("not two hosts of this lab")
	}
	return a, b, nil
}

// Close implements Lab. A second call does nothing.
func (l *lab) Close() error {
	l.mu.Lock()
	closed := l.closed
	l.closed = true
	l.mu.Unlock()
	if closed {
		return nil
	}
	return errors.Join(l.takeDown(), l.missed(), l.claim.release())
}

// takeDown ends the processes, and then removes the things that they use.
func (l *lab) takeDown() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	var errs []error
	for _, h := range l.hosts {
		errs = append(errs, h.retire(ctx))
	}
	if l.net != nil {
		errs = append(errs, l.net.close())
	}
	for _, h := range l.hosts {
		errs = append(errs, h.end())
	}
	if l.tools != nil {
		l.tools.end()
	}
	return errors.Join(errs...)
}
