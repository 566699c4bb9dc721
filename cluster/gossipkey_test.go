package cluster_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kvorum/kvorum/cluster"
	"github.com/kvorum/kvorum/cluster/internal/clustertest"
	"github.com/kvorum/kvorum/internal/testkit"
)

// TestNode_GossipKey has nodes with another key, and with none, join a node with
// one: they are not seen, which its log says, and not without end. One with the
// same key is.
func TestNode_GossipKey(t *testing.T) {
	key := bytes.Repeat([]byte("k"), 32)
	open := func(name string, key []byte, expect int, join ...string) (*clustertest.Node, *testkit.Log) {
		t.Helper()
		var out testkit.Log
		return clustertest.OpenOne(t, clustertest.Listening(t, cluster.Config{
			Name: name, DataDir: filepath.Join(t.TempDir(), "data"), AdvertiseHTTP: "127.0.0.1:1", GossipAddr: freeAddr(t),
			BootstrapExpect: expect, Join: join, GossipKey: key, Logger: slog.New(slog.NewTextHandler(&out, nil)),
		}, "127.0.0.1:0")), &out
	}
	began := time.Now()
	first, log := open("n1", key, 1)
	clustertest.Eventually(t, "n1 is ready", first.Ready)
	toOther, otherTries := counted(t, first.GossipAddr())
	toPlain, plainTries := counted(t, first.GossipAddr())
	other, _ := open("n2", bytes.Repeat([]byte("x"), 32), 0, toOther)
	plain, plainLog := open("n3", nil, 0, toPlain)
	const dropped = "gossip is dropped"
	clustertest.Eventually(t, "n1 says what it drops", func() error {
		if log.Count(dropped) == 0 {
			return errors.New("not yet")
		}
		return nil
	})
	clustertest.Eventually(t, "both have tried several times", func() error {
		if a, b := otherTries.Load(), plainTries.Load(); min(a, b) < 4 {
			return fmt.Errorf("n2 has tried %d times, n3 %d times", a, b)
		}
		return nil
	})
	const why = "another gossip key, or none"
	clustertest.Eventually(t, "n3 says why it waits", func() error {
		if plainLog.Count(why) == 0 {
			return errors.New("not yet")
		}
		return nil
	})
	most := 1 + int(time.Since(began)/(10*time.Second))
	if got := log.Count(dropped); got > most {
		t.Errorf("%d lines of what is dropped, want at most %d", got, most)
	}
	if got := plainLog.Count(why); got > most {
		t.Errorf("%d lines of why n3 waits, want at most %d", got, most)
	}
	for _, n := range []*clustertest.Node{other, plain} {
		if w := n.Waiting(); w == nil || fmt.Sprint(w.Found) != "["+n.Config.Name+"]" {
			t.Errorf("%s waits for %+v, want that it has found itself alone", n.Config.Name, w)
		}
	}
	if got := clustertest.Members(first, false); got != "[n1]" {
		t.Errorf("members are %s", got)
	}
	same, _ := open("n4", key, 0, first.GossipAddr())
	clustertest.Eventually(t, "n4 is ready", same.Ready)
	clustertest.MustPut(t, same, "k", "")
	if got := clustertest.Members(first, false); got != "[n1 n4]" {
		t.Errorf("members are %s", got)
	}
}

// counted returns an address from which connections are passed on to addr, and their number.
func counted(t *testing.T, addr string) (string, *atomic.Int64) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var conns atomic.Int64
	var running sync.WaitGroup
	t.Cleanup(func() {
		_ = l.Close()
		running.Wait()
	})
	running.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			conns.Add(1)
			running.Go(func() { passOn(in, addr) })
		}
	})
	return l.Addr().String(), &conns
}

// passOn connects in with addr until one of the two ends.
func passOn(in net.Conn, addr string) {
	defer in.Close()
	out, err := net.Dial("tcp", addr)
	if err != nil {
		return
	}
	back := make(chan struct{})
	go func() {
		defer close(back)
		_, _ = io.Copy(in, out)
		_ = in.Close()
	}()
	_, _ = io.Copy(out, in)
	_ = out.Close()
	<-back
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
