package transport_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/transport"
)

func raftOf(n *node) (raft.Transport, raft.WithPreVote) {
	trans := n.Raft()
	return trans, trans.(raft.WithPreVote)
}

// header is what raft at n puts in front of its commands.
func header(n *node) raft.RPCHeader {
	id := []byte(n.Identity().ID)
	return raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: id, Addr: id}
}

// respond answers each raft RPC that n gets by f, until the test ends.
func respond(t *testing.T, n *node, f func(raft.RPC) (any, error)) {
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case rpc := <-n.Raft().Consumer():
				rpc.Respond(f(rpc))
			case <-done:
				return
			}
		}
	})
	t.Cleanup(func() { close(done); wg.Wait() })
}

func TestRaft_RPCs(t *testing.T) {
	a, b := pair(t)
	trans, preVote := raftOf(a)
	if got := trans.LocalAddr(); got != "a" {
		t.Errorf("LocalAddr = %q, want the ServerID", got)
	}
	if got := trans.EncodePeer("b", "b"); string(got) != "b" || trans.DecodePeer(got) != "b" {
		t.Errorf("EncodePeer = %q, want the ServerID", got)
	}
	snapshot := bytes.Repeat([]byte("snapshot"), 100<<10)
	respond(t, b, func(rpc raft.RPC) (any, error) {
		switch cmd := rpc.Command.(type) {
		case *raft.AppendEntriesRequest:
			return &raft.AppendEntriesResponse{Term: cmd.Term, LastLog: uint64(len(cmd.Entries))}, nil
		case *raft.RequestVoteRequest:
			return &raft.RequestVoteResponse{Term: cmd.Term, Granted: true}, nil
		case *raft.RequestPreVoteRequest:
			return &raft.RequestPreVoteResponse{Term: cmd.Term, Granted: true}, nil
		case *raft.TimeoutNowRequest:
			return &raft.TimeoutNowResponse{}, errors.New("not now")
		case *raft.InstallSnapshotRequest:
			got, err := io.ReadAll(rpc.Reader)
			return &raft.InstallSnapshotResponse{Success: bytes.Equal(got, snapshot)}, err
		}
		return nil, fmt.Errorf("unexpected %T", rpc.Command)
	})

	var appended raft.AppendEntriesResponse
	entries := []*raft.Log{{Index: 1, Term: 3, Data: []byte("x")}, {Index: 2, Term: 3}}
	if err := trans.AppendEntries("b", "b", &raft.AppendEntriesRequest{RPCHeader: header(a), Term: 3, Entries: entries}, &appended); err != nil || appended.LastLog != 2 {
		t.Errorf("AppendEntries = %+v, %v", appended, err)
	}
	var voted raft.RequestVoteResponse
	if err := trans.RequestVote("b", "b", &raft.RequestVoteRequest{RPCHeader: header(a), Term: 4}, &voted); err != nil || !voted.Granted || voted.Term != 4 {
		t.Errorf("RequestVote = %+v, %v", voted, err)
	}
	var preVoted raft.RequestPreVoteResponse
	if err := preVote.RequestPreVote("b", "b", &raft.RequestPreVoteRequest{RPCHeader: header(a), Term: 5}, &preVoted); err != nil || !preVoted.Granted || preVoted.Term != 5 {
		t.Errorf("RequestPreVote = %+v, %v", preVoted, err)
	}
	if err := trans.TimeoutNow("b", "b", &raft.TimeoutNowRequest{RPCHeader: header(a)}, &raft.TimeoutNowResponse{}); err == nil || err.Error() != "not now" {
		t.Errorf("TimeoutNow: got %v, want the error of the other side", err)
	}
	var installed raft.InstallSnapshotResponse
	err := trans.InstallSnapshot("b", "b", &raft.InstallSnapshotRequest{RPCHeader: header(a), Size: int64(len(snapshot))}, &installed, bytes.NewReader(snapshot))
	if err != nil || !installed.Success {
		t.Errorf("InstallSnapshot = %+v, %v", installed, err)
	}
	if got := b.Stats().Connections; got != 2 {
		t.Errorf("%d connections, want one for appends, and one for all else but the snapshot", got)
	}
	if _, err := trans.AppendEntriesPipeline("b", "b"); !errors.Is(err, raft.ErrPipelineReplicationNotSupported) {
		t.Errorf("AppendEntriesPipeline: got %v, want ErrPipelineReplicationNotSupported", err)
	}
}

// TestRaft_HeartbeatsGoThroughConsumer checks that nothing takes the fast path
// of hashicorp/raft issue 695.
func TestRaft_HeartbeatsGoThroughConsumer(t *testing.T) {
	a, b := pair(t)
	b.Raft().SetHeartbeatHandler(func(rpc raft.RPC) {
		rpc.Respond(&raft.AppendEntriesResponse{}, errors.New("fast path"))
	})
	respond(t, b, func(raft.RPC) (any, error) { return &raft.AppendEntriesResponse{Success: true}, nil })
	heartbeat := &raft.AppendEntriesRequest{
		RPCHeader: header(a), Term: 1,
	}
	var resp raft.AppendEntriesResponse
	if err := a.Raft().AppendEntries("b", "b", heartbeat, &resp); err != nil || !resp.Success {
		t.Errorf("got %+v, %v", resp, err)
	}
}

// TestRaft_VoteAfterRestart checks that a connection which a restart of the peer
// left dead costs no vote.
func TestRaft_VoteAfterRestart(t *testing.T) {
	addrs := &book{}
	a := startNode(t, "a", addrs, nil)
	grant := func(rpc raft.RPC) (any, error) {
		if _, ok := rpc.Command.(*raft.RequestPreVoteRequest); ok {
			return &raft.RequestPreVoteResponse{Granted: true}, nil
		}
		return &raft.RequestVoteResponse{Granted: true}, nil
	}
	trans, preVote := raftOf(a)
	for i := range 3 {
		b := startNode(t, "b", addrs, nil)
		respond(t, b, grant)
		var pre raft.RequestPreVoteResponse
		if err := preVote.RequestPreVote("b", "b", &raft.RequestPreVoteRequest{RPCHeader: header(a)}, &pre); err != nil || !pre.Granted {
			t.Errorf("start %d: RequestPreVote = %+v, %v", i, pre, err)
		}
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() {
				var resp raft.RequestVoteResponse
				if err := trans.RequestVote("b", "b", &raft.RequestVoteRequest{RPCHeader: header(a)}, &resp); err != nil || !resp.Granted {
					t.Errorf("start %d: RequestVote = %+v, %v", i, resp, err)
				}
			})
		}
		wg.Wait()
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestRaft_Close checks that raft's closing of its transport leaves the rest.
func TestRaft_Close(t *testing.T) {
	a, b := pair(t)
	respond(t, b, func(raft.RPC) (any, error) { return &raft.RequestPreVoteResponse{}, nil })
	if err := vote(a, "b"); err != nil {
		t.Fatalf("RequestPreVote: %v", err)
	}
	for range 2 {
		if err := b.Raft().(raft.WithClose).Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
	if err := vote(a, "b"); err == nil {
		t.Errorf("raft is still served")
	}
	if err := vote(b, "a"); !errors.Is(err, transport.ErrClosed) {
		t.Errorf("a closed raft transport dialed: %v", err)
	}
	mustCall(t, a, "b", "still here")
}

// listFSM appends what is applied to a list.
type listFSM struct {
	mu   sync.Mutex
	list []string
}

func (f *listFSM) Apply(l *raft.Log) any {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.list = append(f.list, string(l.Data))
	return len(f.list)
}

func (f *listFSM) len() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.list)
}

func (f *listFSM) Snapshot() (raft.FSMSnapshot, error) { return nil, errors.New("not supported") }
func (f *listFSM) Restore(io.ReadCloser) error         { return errors.New("not supported") }

// TestRaft_Cluster runs three real raft nodes whose addresses are their ids:
// they elect, replicate, lose their leader, and elect again.
func TestRaft_Cluster(t *testing.T) {
	addrs := &book{}
	var servers []raft.Server
	var rafts []*raft.Raft
	var fsms []*listFSM
	var nodes []*node
	for i := range 3 {
		id := raft.ServerID(fmt.Sprintf("n%d.abc", i))
		nodes = append(nodes, startNode(t, string(id), addrs, nil))
		servers = append(servers, raft.Server{ID: id, Address: raft.ServerAddress(id)})
	}
	for _, n := range nodes {
		conf := raft.DefaultConfig()
		conf.LocalID = n.Identity().ID
		conf.HeartbeatTimeout, conf.ElectionTimeout = 300*time.Millisecond, 300*time.Millisecond
		conf.LeaderLeaseTimeout, conf.CommitTimeout = 200*time.Millisecond, 5*time.Millisecond
		conf.Logger = hclog.NewNullLogger()
		store, fsm := raft.NewInmemStore(), &listFSM{}
		r, err := raft.NewRaft(conf, fsm, store, store, raft.NewInmemSnapshotStore(), n.Raft())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { r.Shutdown().Error() })
		rafts, fsms = append(rafts, r), append(fsms, fsm)
	}
	if err := rafts[0].BootstrapCluster(raft.Configuration{Servers: servers}).Error(); err != nil {
		t.Fatal(err)
	}
	const writes = 20
	apply := func(alive []*raft.Raft, text string) {
		t.Helper()
		poll(t, "a write succeeds", func() bool {
			for _, r := range alive {
				if r.State() == raft.Leader {
					return r.Apply([]byte(text), time.Second).Error() == nil
				}
			}
			return false
		})
	}
	for i := range writes {
		apply(rafts, fmt.Sprint("first ", i))
	}
	for i := range fsms {
		poll(t, "all nodes applied all", func() bool { return fsms[i].len() >= writes })
	}
	leader := 0
	for i, r := range rafts {
		if r.State() == raft.Leader {
			leader = i
		}
	}
	addr, id := rafts[leader].LeaderWithID()
	if string(addr) != string(id) || id != nodes[leader].Identity().ID {
		t.Errorf("leader is %q at %q, want its id as both", id, addr)
	}
	if err := rafts[leader].Shutdown().Error(); err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	rest := append(append([]*raft.Raft{}, rafts[:leader]...), rafts[leader+1:]...)
	apply(rest, "second")
}
