package cluster

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/kvorum/kvorum/internal/testkit"
)

// TestNode_GossipKey has nodes with another key, and with none, join a node with
// one: they are not seen, which its log says, and not without end. One with the
// same key is.
func TestNode_GossipKey(t *testing.T) {
	key := bytes.Repeat([]byte("k"), 32)
	open := func(name string, key []byte, expect int, join ...string) (*Node, *testkit.Log) {
		t.Helper()
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		var out testkit.Log
		n, err := Open(t.Context(), Config{
			Name: name, DataDir: filepath.Join(t.TempDir(), "data"), PeerListener: listener,
			AdvertisePeer: listener.Addr().String(), AdvertiseHTTP: "127.0.0.1:1", GossipAddr: freeAddr(t),
			BootstrapExpect: expect, Join: join, GossipKey: key, Logger: slog.New(slog.NewTextHandler(&out, nil)),
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := n.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
		})
		return n, &out
	}
	began := time.Now()
	first, log := open("n1", key, 1)
	eventually(t, "n1 is ready", first.Ready)
	other, _ := open("n2", bytes.Repeat([]byte("x"), 32), 0, first.GossipAddr())
	plain, plainLog := open("n3", nil, 0, first.GossipAddr())
	const dropped = "gossip is dropped"
	eventually(t, "n1 says what it drops", func() error {
		if log.Count(dropped) == 0 {
			return errors.New("not yet")
		}
		return nil
	})
	time.Sleep(4 * time.Second) // each tries once a second
	most := 1 + int(time.Since(began)/repeatEvery)
	if got := log.Count(dropped); got > most {
		t.Errorf("%d lines of what is dropped, want at most %d", got, most)
	}
	if got := plainLog.Count("another gossip key, or none"); got < 1 || got > most {
		t.Errorf("%d lines of why n3 waits, want 1 to %d", got, most)
	}
	for _, n := range []*Node{first, other, plain} {
		if seen := n.gossip.Members(); len(seen) != 1 {
			t.Errorf("%s sees %v", n.cfg.Name, seen)
		}
	}
	same, _ := open("n4", key, 0, first.GossipAddr())
	eventually(t, "n4 is ready", same.Ready)
	mustPut(t, same, "k", "")
	if got := membersOf(first, false); got != "[n1 n4]" {
		t.Errorf("members are %s", got)
	}
}

// freeAddr returns an address of this host that nobody is bound to now.
func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return fmt.Sprint(l.Addr())
}
