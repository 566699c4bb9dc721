package transport_test

import (
	"testing"
	"testing/synctest"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/transport"
)

// askVote asks for server b's vote as raft does, in the name that a transport
// gives its server.
func askVote(t *testing.T, from raft.Transport, id raft.ServerID, term, lastIndex, lastTerm uint64) (granted bool) {
	t.Helper()
	request := &raft.RequestVoteRequest{
		RPCHeader: raft.RPCHeader{ProtocolVersion: 3, ID: []byte(id), Addr: from.EncodePeer(id, from.LocalAddr())},
		Term:      term, LastLogIndex: lastIndex, LastLogTerm: lastTerm,
	}
	var response raft.RequestVoteResponse
	if err := from.RequestVote("b", "b", request, &response); err != nil {
		t.Fatal(err)
	}
	return response.Granted
}

// voteTwice has server a get b's vote, and then server c, whose log is empty, ask
// for it in the same term from the network address that a had. begin returns a
// server's transport at that address, and ends it.
func voteTwice(t *testing.T, b raft.Transport, begin func(id string) (raft.Transport, func())) (again bool) {
	t.Helper()
	r := startRaft(t, b, new(listFSM), raft.NewInmemStore(), raft.NewInmemSnapshotStore())
	defer func() { r.Shutdown().Error() }()
	a, end := begin("a")
	if !askVote(t, a, "a", 5, 1, 1) {
		t.Fatal("a server with a whole log got no vote")
	}
	end()
	c, end := begin("c")
	defer end()
	return askVote(t, c, "c", 5, 0, 0)
}

// TestReusedAddress shows that a server does not get the vote that was given to
// the one which had its network address before (raft.md section 9). Raft knows
// candidates by their addresses, and does not look at the log of one that it has
// voted for in this term. Here an address is an id.
func TestReusedAddress(t *testing.T) {
	const reused = "10.0.0.1:7000"
	t.Run("Library", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var network memNet
			b := network.libraryTransport("b", 1)
			defer b.Close()
			if !voteTwice(t, b, func(string) (raft.Transport, func()) {
				trans := network.libraryTransport(reused, 1)
				return trans, func() { trans.Close(); trans.CloseStreams() }
			}) {
				t.Error("a server with an empty log got no second vote: raft tells servers apart, or this is no control")
			}
		})
	})
	t.Run("Ours", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var network memNet
			addrs := new(book)
			b := startNode(t, "b", addrs, network.ours(addrs))
			if voteTwice(t, b.Raft(), func(id string) (raft.Transport, func()) {
				n := startNode(t, id, addrs, func(c *transport.Config) {
					network.ours(addrs)(c)
					c.Listener, c.Identity.PeerAddr = network.listen(reused), reused
				})
				return n.Raft(), func() { n.Close() }
			}) {
				t.Error("a server with an empty log got the vote of another one in the same term")
			}
		})
	})
}
