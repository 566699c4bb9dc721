package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"testing"

	"github.com/hashicorp/memberlist"
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

// TestGossip_NamesChange has the addresses of gossip's names change while nodes
// run: those of an advertised name and of a seed are found both.
func TestGossip_NamesChange(t *testing.T) {
	t.Parallel()
	names := &hostNames{all: map[string]string{"n1.test": "127.0.0.1", "seed.test": "127.0.0.9"}}
	var out logBuffer
	open := func(id, bind, advertise string, join ...string) *gossip {
		cfg := Config{
			GossipAddr: bind, AdvertiseGossip: advertise, Join: join, Logger: slog.New(slog.NewTextHandler(&out, nil)),
			Seams: Seams{LookupIP: names.lookup},
		}
		g, err := openGossip(t.Context(), cfg, Announcement{ID: id, PeerAddr: "h:1", HTTPAddr: "h:2"}, func(error) {})
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
	first := open("n1.a", "0.0.0.0:0", "n1.test:0")
	port := netip.MustParseAddrPort(first.net.bound()).Port()
	second := open("n2.b", "127.0.0.1:0", "127.0.0.1:0", fmt.Sprintf("seed.test:%d", port))
	sees := func(ip string) func() error {
		return func() error {
			want := fmt.Sprintf("%s:%d", ip, port)
			second.mu.Lock()
			defer second.mu.Unlock()
			seen := 0
			for name, node := range second.live {
				if node.ID == "n1.a" {
					if seen++; node.addr != want {
						return fmt.Errorf("%s is at %s", name, node.addr)
					}
				}
			}
			if seen != 1 {
				return fmt.Errorf("%d processes of n1 are seen", seen)
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
		if got := out.count("advertised gossip address changed"); got != 1 {
			return fmt.Errorf("%d lines", got)
		}
		return nil
	})
	second.SetCluster("c1")
	eventually(t, "n1 hears of a change under its new address", func() error {
		if got := first.Members()["n2.b"].Cluster; got != "c1" {
			return fmt.Errorf("n2 is in cluster %q", got)
		}
		return nil
	})
}

// TestGossip_ChangesWhileReplaced has this node accept a cluster, and two others come and
// go, while a list at another address takes the place of the present one: none of it is
// lost.
func TestGossip_ChangesWhileReplaced(t *testing.T) {
	t.Parallel()
	cfg := Config{GossipAddr: "127.0.0.1:0", AdvertiseGossip: "127.0.0.1:0", Logger: slog.New(slog.DiscardHandler)}
	g, err := openGossip(t.Context(), cfg, Announcement{ID: "n1.a", PeerAddr: "h:1", HTTPAddr: "h:2"}, func(error) {})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := g.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}()
	node := func(id string) *memberlist.Node {
		return &memberlist.Node{Name: id + "/1", Meta: []byte(fmt.Sprintf(`{"i":%q,"p":"h:1","h":"h:2"}`, id))}
	}
	gossipEvents{g, 1}.NotifyJoin(node("n2.b")) // goes unnoticed: the new list never meets it
	to := netip.MustParseAddrPort(g.Addr())
	announced := g.announced()
	list, err := g.newList(netip.AddrPortFrom(netip.MustParseAddr("127.0.0.2"), to.Port()))
	if err != nil {
		t.Fatal(err)
	}
	g.SetCluster("c1")
	gossipEvents{g, 2}.NotifyJoin(node("n3.c")) // after the new list was asked who is there
	if err := g.replaceList(list, to, announced); err != nil {
		t.Fatal(err)
	}
	if a, err := decodeAnnouncement(list.LocalNode().Meta); err != nil || a.Cluster != "c1" {
		t.Errorf("announced: got %+v, %v, want that the node is in a cluster", a, err)
	}
	members := g.Members()
	if _, ok := members["n2.b"]; ok {
		t.Error("a node that has gone is still there")
	}
	if _, ok := members["n3.c"]; !ok {
		t.Error("a node that has come is not there")
	}
}
