package discovery

import (
	"fmt"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"
	"github.com/kvorum/kvorum/wal/crashfs"
)

// TestGossip_Goodbye closes a node's gossip without time to tell the others: Close returns
// no error.
func TestGossip_Goodbye(t *testing.T) {
	open := func(name string, join ...string) *Gossip {
		cfg := Config{Addr: "127.0.0.1:0", Advertise: "127.0.0.1:0", Join: join}
		g, err := Open(t.Context(), cfg, Announcement{ID: name, PeerAddr: "h:1", HTTPAddr: "h:2"})
		if err != nil {
			t.Fatal(err)
		}
		return g
	}
	stays := open("n1.a")
	defer func() {
		if err := stays.close(time.Nanosecond); err != nil {
			t.Error(err)
		}
	}()
	goes := open("n2.b")
	if err := goes.Join([]string{stays.Addr()}); err != nil {
		t.Fatal(err)
	}
	for len(goes.Members()) != 2 || len(stays.Members()) != 2 {
		select {
		case <-goes.Changed():
		case <-stays.Changed():
		case <-time.After(30 * time.Second):
			t.Fatal("they have not met")
		}
	}
	if err := goes.close(time.Nanosecond); err != nil {
		t.Errorf("got %v, want nil", err)
	}
}

// TestGossip_ChangesWhileReplaced replaces the list by one at another address. Meanwhile
// this node accepts a cluster, one node ends, and another one starts: no change is lost.
func TestGossip_ChangesWhileReplaced(t *testing.T) {
	t.Parallel()
	cfg := Config{Addr: "127.0.0.1:0", Advertise: "127.0.0.1:0"}
	g, err := Open(t.Context(), cfg, Announcement{ID: "n1.a", PeerAddr: "h:1", HTTPAddr: "h:2"})
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
	gossipEvents{g, 1}.NotifyJoin(node("n2.b")) // ends unnoticed: the new list never meets it
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

// TestBook_ForgetsAllOfANode: after a node was forgotten, or dropped for another one, nothing
// about it is left in memory.
func TestBook_ForgetsAllOfANode(t *testing.T) {
	b, err := OpenBook(crashfs.New(), "peers.json", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for i := range 2 * maxBookEntries {
		a := Announcement{ID: fmt.Sprint("n", i), PeerAddr: "h:1", Generation: 1}
		b.Learn(a)
		a.Generation = 2
		b.Hint(a)
	}
	if err := b.Close(); err != nil { // the fields may be read now
		t.Fatal(err)
	}
	if len(b.entries) != maxBookEntries || len(b.seen) != maxBookEntries || len(b.hints) > maxBookEntries {
		t.Errorf("%d entries, %d in order, %d hints", len(b.entries), len(b.seen), len(b.hints))
	}
	for i := range 2 * maxBookEntries {
		b.Forget(fmt.Sprint("n", i))
	}
	if left := len(b.entries) + len(b.seen) + len(b.hints); left != 0 {
		t.Errorf("%d are left", left)
	}
}
