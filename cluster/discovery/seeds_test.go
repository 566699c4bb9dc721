package discovery_test

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/kvorum/kvorum/cluster/discovery"
	"github.com/kvorum/kvorum/kv"
)

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

// TestGossip_OtherClusterIsKeptOut: a node of another cluster is refused, and Foreign is
// called for a node that meets no others.
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
	if err := <-foreign; !errors.Is(err, kv.ErrOtherCluster) || !strings.Contains(err.Error(), "n1.a") {
		t.Errorf("got %v, want a kv.ErrOtherCluster that names the node", err)
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
