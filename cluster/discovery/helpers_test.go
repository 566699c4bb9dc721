package discovery_test

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/kvorum/kvorum/cluster/discovery"
	"github.com/kvorum/kvorum/internal/testkit"
)

// hostNames is a resolver of a test. It is safe for concurrent use.
type hostNames struct {
	mu  sync.Mutex
	all map[string]string // guarded by mu; one address for each name
}

func (h *hostNames) set(name, ip string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.all[name] = ip
}

func (h *hostNames) lookup(_ context.Context, host string) ([]netip.Addr, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	ip, ok := h.all[host]
	if !ok {
		return nil, errors.New("no such host")
	}
	return []netip.Addr{netip.MustParseAddr(ip)}, nil
}

// eventually waits until check returns nil.
func eventually(t *testing.T, what string, check func() error) {
	t.Helper()
	testkit.Eventually(t, 30*time.Second, what, check)
}

// open opens gossip until the test ends.
func open(t *testing.T, cfg discovery.Config, self discovery.Announcement) *discovery.Gossip {
	t.Helper()
	g, err := discovery.Open(t.Context(), cfg, self)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return g
}

// local is the configuration of gossip on the loopback network.
func local(join ...string) discovery.Config {
	return discovery.Config{Addr: "127.0.0.1:0", Advertise: "127.0.0.1:0", Join: join}
}

func node(id, cluster string) discovery.Announcement {
	return discovery.Announcement{ID: id, Cluster: cluster, PeerAddr: "h:1", HTTPAddr: "h:2", CommandVersion: 3}
}
