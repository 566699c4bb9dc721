package transport_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/transport"
)

// vote sends a raft RPC and returns its error.
func vote(from *node, to raft.ServerID) error {
	trans := from.Raft().(raft.WithPreVote)
	return trans.RequestPreVote(to, raft.ServerAddress(to), &raft.RequestPreVoteRequest{RPCHeader: header(from)}, &raft.RequestPreVoteResponse{})
}

func TestHandshake_Refused(t *testing.T) {
	asNode := func(id, cluster string) func(*transport.Config) {
		return func(c *transport.Config) { c.Identity.ID, c.Identity.Cluster = raft.ServerID(id), cluster }
	}
	refuse := func(c *transport.Config) {
		c.Admit = func(who transport.Identity) error { return errors.New("no " + string(who.ID) + " here") }
	}
	for name, c := range map[string]struct {
		a, b    func(*transport.Config)
		rpc     transport.Reason // 0: accepted
		raft    transport.Reason
		remote  bool   // b refuses a, not a b
		message string // part of it
	}{
		"OtherCluster":      {b: asNode("b", "d"), rpc: transport.RefusedOtherCluster, raft: transport.RefusedOtherCluster, remote: true, message: `"c"`},
		"TargetInNone":      {b: asNode("b", ""), raft: transport.RefusedOtherCluster, message: "both"},
		"DialerInNone":      {a: asNode("a", ""), raft: transport.RefusedOtherCluster, message: "both"},
		"WrongTarget":       {b: asNode("x", "c"), rpc: transport.RefusedWrongTarget, raft: transport.RefusedWrongTarget, remote: true, message: `"x"`},
		"AcceptorAdmitsNot": {b: refuse, rpc: transport.RefusedNotAdmitted, raft: transport.RefusedNotAdmitted, remote: true, message: "no a here"},
		"DialerAdmitsNot":   {a: refuse, rpc: transport.RefusedNotAdmitted, raft: transport.RefusedNotAdmitted, message: "no b here"},
	} {
		t.Run(name, func(t *testing.T) {
			addrs := &book{}
			a, b := startNode(t, "a", addrs, c.a), startNode(t, "b", addrs, c.b)
			addrs.set("b", b.addr)
			_, err := a.Call(ctxFor(t), "b", kindEcho, nil)
			expectRefusal(t, err, c.rpc, c.remote, c.message)
			err = vote(a, "b")
			expectRefusal(t, err, c.raft, c.remote, c.message)
			refuser := a
			if c.remote {
				refuser = b
			}
			poll(t, "Stats counts the refusal", func() bool { return refuser.Stats().Refused[c.raft] != 0 })
			if c.rpc != 0 && c.remote && len(a.learned)+len(b.learned) != 0 {
				t.Errorf("a refused peer was learned")
			}
		})
	}
}

func expectRefusal(t *testing.T, err error, reason transport.Reason, remote bool, message string) {
	t.Helper()
	if reason == 0 {
		if err != nil {
			t.Errorf("got %v, want success", err)
		}
		return
	}
	var refused *transport.RefusedError
	if !errors.As(err, &refused) || !errors.Is(err, transport.ErrNotSent) || errors.Is(err, transport.ErrNoAnswer) {
		t.Fatalf("got %v, want a *RefusedError that is ErrNotSent alone", err)
	}
	if refused.Reason != reason || refused.Remote != remote || !strings.Contains(refused.Message, message) {
		t.Errorf("got %+v, want reason %v, remote %t, and %s in its text", refused, reason, remote, message)
	}
	if refused.Peer.PeerAddr == "" {
		t.Errorf("the refusal does not tell who the peer is: %+v", refused)
	}
}

// TestHandshake_ProbeOtherCluster checks that a refusal tells who is there.
func TestHandshake_ProbeOtherCluster(t *testing.T) {
	addrs := &book{}
	a := startNode(t, "a", addrs, nil)
	b := startNode(t, "b", addrs, func(c *transport.Config) { c.Identity.Cluster = "d" })
	who, err := a.Probe(ctxFor(t), b.addr)
	expectRefusal(t, err, transport.RefusedOtherCluster, true, `"d"`)
	if who != b.Identity() {
		t.Errorf("got %+v, want %+v", who, b.Identity())
	}
}

// TestSetCluster checks that connections of a node that joins a cluster are made
// again, and that the very call by which it joins is not lost.
func TestSetCluster(t *testing.T) {
	addrs := &book{}
	froms := make(chan transport.Identity, 100)
	a := startNode(t, "a", addrs, nil)
	var b *node
	b = startNode(t, "b", addrs, func(c *transport.Config) {
		c.Identity.Cluster = ""
		handle := c.Handler
		c.Handler = func(ctx context.Context, from transport.Identity, kind transport.Kind, payload []byte) ([]byte, error) {
			froms <- from
			if string(payload) == "join c" {
				b.SetCluster("c")
			}
			return handle(ctx, from, kind, payload)
		}
	})
	block := goCall(ctxFor(t), a, "b", kindBlock, nil)
	await(t, "a call begins", b.started)
	mustCall(t, a, "b", "join c")
	mustCall(t, a, "b", "on a new connection")
	learned := []transport.Identity{await(t, "a learns b", a.learned), await(t, "a learns b again", a.learned)}
	if learned[0].Cluster != "" || learned[1].Cluster != "c" {
		t.Errorf("a learned %+v, want b first in no cluster, then in c", learned)
	}
	close(b.release)
	if got := await(t, "the call from before", block); got.err != nil {
		t.Errorf("a call in progress was lost: %v", got.err)
	}
	poll(t, "the old connection closes", func() bool { return b.Stats().Connections == 1 })
	respond(t, b, func(raft.RPC) (any, error) { return &raft.RequestPreVoteResponse{}, nil })
	if err := vote(a, "b"); err != nil {
		t.Errorf("raft after SetCluster: %v", err)
	}
}

// TestSetCluster_DialedConnections checks the same for connections that the
// joining node dialed itself.
func TestSetCluster_DialedConnections(t *testing.T) {
	addrs := &book{}
	a := startNode(t, "a", addrs, nil)
	b := startNode(t, "b", addrs, func(c *transport.Config) { c.Identity.Cluster = "" })
	mustCall(t, b, "a", "from nowhere")
	b.SetCluster("c")
	mustCall(t, b, "a", "from c")
	for _, want := range []string{"", "c"} {
		if got := await(t, "a learns b", a.learned).Cluster; got != want {
			t.Errorf("a learned cluster %q, want %q", got, want)
		}
	}
	poll(t, "the old connection closes", func() bool { return a.Stats().Connections == 1 })
}

// TestSetCluster_DuringHandshake checks that a connection whose handshake told
// the cluster id of a moment ago is not used for long either.
func TestSetCluster_DuringHandshake(t *testing.T) {
	for name, dial := range map[string]func(a, b *node) (from *node, to raft.ServerID){
		"Accepted": func(a, b *node) (*node, raft.ServerID) { return a, "b" },
		"Dialed":   func(a, b *node) (*node, raft.ServerID) { return b, "a" },
	} {
		t.Run(name, func(t *testing.T) {
			addrs := &book{}
			a := startNode(t, "a", addrs, nil)
			var b *node
			b = startNode(t, "b", addrs, func(c *transport.Config) {
				c.Identity.Cluster = ""
				c.Learn = func(transport.Identity) { b.SetCluster("c") } // after the hellos
			})
			from, to := dial(a, b)
			poll(t, "a connection of the cluster", func() bool {
				mustCall(t, from, to, "hello")
				select {
				case who := <-a.learned:
					return who.Cluster == "c"
				default:
					return false
				}
			})
		})
	}
}
