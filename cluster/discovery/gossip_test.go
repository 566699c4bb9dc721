package discovery_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kvorum/kvorum/cluster/discovery"
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

// logBuffer is a log that may be read while it is written.
type logBuffer struct {
	mu  sync.Mutex
	all bytes.Buffer // guarded by mu
}

func (l *logBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.Write(b)
}

// count returns how many lines have text in them.
func (l *logBuffer) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.all.String(), text)
}

// eventually waits until check returns nil.
func eventually(t *testing.T, what string, check func() error) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", what, err)
		}
	}
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
	return discovery.Announcement{ID: id, Cluster: cluster, PeerAddr: "h:1", HTTPAddr: "h:2"}
}

// TestGossip_NamesChange has the addresses of gossip's names change while nodes
// run: those of an advertised name and of a seed are found both.
func TestGossip_NamesChange(t *testing.T) {
	t.Parallel()
	names := &hostNames{all: map[string]string{"n1.test": "127.0.0.1", "seed.test": "127.0.0.9"}}
	var out logBuffer
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

// TestGossip_SeedsAnswerInWords asks seeds of each kind.
func TestGossip_SeedsAnswerInWords(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := silent.Addr().String()
	if err := silent.Close(); err != nil {
		t.Fatal(err)
	}
	web, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer web.Close()
	go func() {
		for {
			c, err := web.Accept()
			if err != nil {
				return
			}
			_, _ = c.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
			_ = c.Close()
		}
	}()
	other := open(t, local(), node("n2.b", ""))
	encrypted := local()
	encrypted.Key = bytes.Repeat([]byte("k"), 32)
	keyed := open(t, encrypted, node("n3.c", ""))
	want := map[string]struct {
		reached bool
		words   string
	}{
		other.Addr():           {true, "answers"},
		nobody:                 {false, "connection refused"},
		web.Addr().String():    {false, "but HTTP"},
		keyed.Addr():           {false, "another gossip key"},
		"nowhere.invalid:6001": {false, "does not resolve"},
	}
	var seeds []string
	for seed := range want {
		seeds = append(seeds, seed)
	}
	cfg := local(seeds...)
	cfg.LookupIP = (&hostNames{all: map[string]string{}}).lookup
	g := open(t, cfg, node("n1.a", ""))
	eventually(t, "each seed has answered", func() error {
		for i, a := range g.Asked() {
			if a.Addr != seeds[i] {
				t.Fatalf("answer %d is of %s, want %s", i, a.Addr, seeds[i])
			}
			if w := want[a.Addr]; a.Reached != w.reached || a.Self || !strings.Contains(a.Answer, w.words) {
				return fmt.Errorf("%s: got %+v, want %q", a.Addr, a, w.words)
			}
		}
		return nil
	})
	if err := g.Join([]string{nobody, other.Addr()}); err != nil {
		t.Errorf("join: one of two answers, got %v", err)
	}
	if err := g.Join([]string{nobody}); err == nil || !strings.Contains(err.Error(), nobody) {
		t.Errorf("join: got %v, want an error that names the address", err)
	}
	if err := g.Join([]string{g.Addr()}); err != nil {
		t.Errorf("join of this node itself: %v", err)
	}
}

// TestGossip_OtherClusterIsKeptOut: a node of another cluster is not met, and one that meets
// nobody else is told.
func TestGossip_OtherClusterIsKeptOut(t *testing.T) {
	t.Parallel()
	first := open(t, local(), node("n1.a", "c1"))
	foreign := make(chan error, 10)
	cfg := local(first.Addr())
	cfg.Foreign = func(err error) {
		select {
		case foreign <- err:
		default:
		}
	}
	second := open(t, cfg, node("n2.b", "c2"))
	if err := <-foreign; !errors.Is(err, discovery.ErrOtherCluster) || !strings.Contains(err.Error(), "n1.a") {
		t.Errorf("got %v, want an ErrOtherCluster that names the node", err)
	}
	for _, g := range []*discovery.Gossip{first, second} {
		if got := g.Members(); len(got) != 1 {
			t.Errorf("members: got %v", got)
		}
	}
	if a := second.Asked()[0]; a.Reached || !strings.Contains(a.Answer, "of another cluster") {
		t.Errorf("the seed's answer: got %+v", a)
	}
}

// TestOpen_RefusesLongAnnouncement: an announcement that fits no packet is an error, now
// and not once the node has a cluster.
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
	largest := discovery.Announcement{ID: strings.Repeat("x", 64+17), PeerAddr: long, HTTPAddr: long, Generation: 1<<64 - 1, Expect: 15}
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
