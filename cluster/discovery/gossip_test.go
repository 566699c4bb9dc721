package discovery_test

import (
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/kvorum/kvorum/cluster/discovery"
	"github.com/kvorum/kvorum/internal/testkit"
)

// TestGossip_NamesChange changes the addresses of gossip's names while nodes run: the new
// addresses of an advertised name and of a seed are both found.
func TestGossip_NamesChange(t *testing.T) {
	t.Parallel()
	names := &hostNames{all: map[string]string{"n1.test": "127.0.0.1", "seed.test": "127.0.0.9"}}
	var out testkit.Log
	log := slog.New(slog.NewTextHandler(&out, nil))
	first := open(t, discovery.Config{Addr: "0.0.0.0:0", Advertise: "n1.test:0", Logger: log, LookupIP: names.lookup}, node("n1.a", ""))
	port := netip.MustParseAddrPort(first.Addr()).Port()
	second := open(t, discovery.Config{
		Addr: "127.0.0.1:0", Advertise: "127.0.0.1:0", Join: []string{fmt.Sprintf("seed.test:%d", port)},
		Logger: log, LookupIP: names.lookup,
	}, node("n2.b", ""))
	sees := func(ip string) func() error {
		return func() error {
			want := fmt.Sprintf("%s:%d", ip, port)
			others := slices.DeleteFunc(second.Addrs(), func(addr string) bool { return addr == second.Addr() })
			if _, ok := second.Members()["n1.a"]; !ok || len(others) != 1 || others[0] != want {
				return fmt.Errorf("processes are seen at %v", others)
			}
			return nil
		}
	}
	names.set("seed.test", "127.0.0.1")
	eventually(t, "n2 finds n1 by a seed whose address has changed", sees("127.0.0.1"))
	names.set("n1.test", "127.0.0.2")
	eventually(t, "n2 sees n1 at its new address", sees("127.0.0.2"))
	if got := len(first.Members()); got != 2 {
		t.Errorf("n1 sees %d nodes, want 2", got)
	}
	eventually(t, "n1's log tells the change", func() error {
		if got := out.Count("advertised gossip address changed"); got != 1 {
			return fmt.Errorf("%d lines", got)
		}
		return nil
	})
	second.SetCluster("c1")
	eventually(t, "n1 hears of a change under its new address", func() error {
		if got := first.Members()["n2.b"]; got.Cluster != "c1" || got.CommandVersion != 3 {
			return fmt.Errorf("n2 announces %+v", got)
		}
		return nil
	})
}

// TestOpen_RefusesLongAnnouncement: an announcement that does not fit a packet is an error
// at once, not only when the node joins a cluster.
func TestOpen_RefusesLongAnnouncement(t *testing.T) {
	long := strings.Repeat("x", discovery.MaxAddressBytes)
	for name, self := range map[string]discovery.Announcement{
		"no id":     {PeerAddr: "h:1", HTTPAddr: "h:2"},
		"long id":   {ID: strings.Repeat("x", 480), PeerAddr: "h:1", HTTPAddr: "h:2"},
		"address":   {ID: "n1.a", PeerAddr: long + "x", HTTPAddr: "h:2"},
		"all of it": {ID: strings.Repeat("x", 160), PeerAddr: long, HTTPAddr: long},
	} {
		if g, err := discovery.Open(t.Context(), local(), self); err == nil {
			t.Errorf("%s: no error", name)
			_ = g.Close()
		}
	}
	largest := discovery.Announcement{ID: strings.Repeat("x", 64+17), PeerAddr: long, HTTPAddr: long, Generation: 1<<64 - 1, Expect: 15, CommandVersion: 255}
	g := open(t, local(), largest)
	g.SetCluster(strings.Repeat("c", 64))
	if got := g.Members()[largest.ID].Cluster; len(got) != 64 {
		t.Errorf("the cluster is %q", got)
	}
}

// TestOpen_AddressInUse: the error names an address that can't be bound.
func TestOpen_AddressInUse(t *testing.T) {
	first := open(t, local(), node("n1.a", ""))
	cfg := local()
	cfg.Addr = first.Addr()
	if g, err := discovery.Open(t.Context(), cfg, node("n2.b", "")); err == nil || !strings.Contains(err.Error(), first.Addr()) {
		t.Errorf("got %v, want an error that names %s", err, first.Addr())
		if err == nil {
			_ = g.Close()
		}
	}
}
