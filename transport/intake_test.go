package transport_test

import (
	"testing"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/transport"
)

// TestRaft_HeartbeatsWhileBusy shows which heartbeats are answered while raft's
// main goroutine is at work: those of the leader and term it works for, and no
// others; and that none is once it is done.
func TestRaft_HeartbeatsWhileBusy(t *testing.T) {
	addrs := &book{}
	a, c := startNode(t, "a", addrs, nil), startNode(t, "c", addrs, nil)
	b := startNode(t, "b", addrs, func(cfg *transport.Config) { cfg.CurrentTerm = func() uint64 { return 7 } })
	beat := func(term uint64, leader *node) <-chan error {
		done := make(chan error, 1)
		request := &raft.AppendEntriesRequest{RPCHeader: header(leader), Term: term}
		go func() { done <- leader.Raft().AppendEntries("b", "b", request, new(raft.AppendEntriesResponse)) }()
		return done
	}
	appended := make(chan error, 1)
	go func() {
		appended <- a.Raft().AppendEntries("b", "b", &raft.AppendEntriesRequest{
			RPCHeader: header(a), Term: 7,
			Entries: []*raft.Log{{Index: 1, Term: 7}},
		}, new(raft.AppendEntriesResponse))
	}()
	work := await(t, "the append at raft", b.Raft().Consumer())

	// Raft is at work and takes nothing else from Consumer.
	if err := await(t, "the leader's heartbeat", beat(7, a)); err != nil {
		t.Errorf("heartbeat of the leader it works for: got %v", err)
	}
	others := []<-chan error{beat(8, a), beat(7, c)}
	if err := await(t, "the leader's next heartbeat", beat(7, a)); err != nil {
		t.Errorf("heartbeat while others wait: got %v", err)
	}
	work.Respond(&raft.AppendEntriesResponse{Term: 7, Success: true}, nil)
	if err := await(t, "the append's answer", appended); err != nil {
		t.Errorf("append: got %v", err)
	}
	for range others {
		rpc := await(t, "a heartbeat of another leader or term", b.Raft().Consumer())
		rpc.Respond(&raft.AppendEntriesResponse{}, nil)
	}
	for _, other := range others {
		if err := await(t, "its answer", other); err != nil {
			t.Errorf("other heartbeat: got %v", err)
		}
	}
	after := beat(7, a)
	rpc := await(t, "a heartbeat with raft idle", b.Raft().Consumer())
	rpc.Respond(&raft.AppendEntriesResponse{}, nil)
	if err := await(t, "its answer", after); err != nil {
		t.Errorf("heartbeat with raft idle: got %v", err)
	}
}
