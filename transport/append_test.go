package transport_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/transport"
)

// appendOf is an append of n entries with size bytes each, behind entry 10.
func appendOf(n *node, count, size int) *raft.AppendEntriesRequest {
	request := &raft.AppendEntriesRequest{
		RPCHeader: header(n), Term: 3, PrevLogEntry: 10, PrevLogTerm: 2, LeaderCommitIndex: 100,
	}
	for i := range count {
		request.Entries = append(request.Entries, &raft.Log{
			Index: 11 + uint64(i), Term: 3, Data: bytes.Repeat([]byte{byte(i)}, size), AppendedAt: time.Unix(5, 6).UTC(),
		})
	}
	return request
}

// TestAppend_Split checks that a large append arrives as several that continue
// each other, over TCP and unchanged, and is answered as one.
func TestAppend_Split(t *testing.T) {
	a, b := pair(t)
	want := appendOf(a, 9, 1<<20)
	var got []*raft.Log
	answered := 0
	respond(t, b, func(rpc raft.RPC) (any, error) {
		request := rpc.Command.(*raft.AppendEntriesRequest)
		if prev := uint64(10 + len(got)); request.PrevLogEntry != prev || request.Term != 3 {
			return nil, errors.New("it does not continue the one before")
		}
		got = append(got, request.Entries...)
		answered++
		return &raft.AppendEntriesResponse{Term: 3, LastLog: uint64(10 + len(got)), Success: true}, nil
	})
	var resp raft.AppendEntriesResponse
	if err := a.Raft().AppendEntries("b", "b", want, &resp); err != nil || !resp.Success || resp.LastLog != 19 {
		t.Errorf("AppendEntries = %+v, %v", resp, err)
	}
	if answered != 3 {
		t.Errorf("9 MiB in %d messages, want 3", answered)
	}
	for i, log := range got {
		if w := want.Entries[i]; log.Index != w.Index || !bytes.Equal(log.Data, w.Data) || !log.AppendedAt.Equal(w.AppendedAt) {
			t.Errorf("entry %d is not what was sent", w.Index)
		}
	}
}

// TestAppend_SplitRejected checks that no message is sent after one of the same
// request that was unsuccessful.
func TestAppend_SplitRejected(t *testing.T) {
	a, b := pair(t)
	messages := 0
	respond(t, b, func(rpc raft.RPC) (any, error) {
		messages++
		return &raft.AppendEntriesResponse{Term: 4, LastLog: 12, Success: messages != 2}, nil
	})
	var resp raft.AppendEntriesResponse
	if err := a.Raft().AppendEntries("b", "b", appendOf(a, 9, 1<<20), &resp); err != nil || resp.Success || resp.LastLog != 12 || resp.Term != 4 {
		t.Errorf("AppendEntries = %+v, %v, want the answer to the second message", resp, err)
	}
	if messages != 2 {
		t.Errorf("%d messages were sent, want 2", messages)
	}
}

// bubble runs f with two nodes in simulated time, whose pipelines have a window.
func bubble(t *testing.T, window int, f func(t *testing.T, a, b *node)) {
	synctest.Test(t, func(t *testing.T) {
		var network memNet
		addrs := new(book)
		tune := func(c *transport.Config) { network.ours(addrs)(c); c.PipelineWindow = window }
		f(t, startNode(t, "a", addrs, tune), startNode(t, "b", addrs, tune))
	})
}

func mustPipeline(t *testing.T, a *node) raft.AppendPipeline {
	t.Helper()
	p, err := a.Raft().AppendEntriesPipeline("b", "b")
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestPipeline_Order checks that appends are under way together, up to the
// window, reach raft in order, and that the futures follow.
func TestPipeline_Order(t *testing.T) {
	bubble(t, 3, func(t *testing.T, a, b *node) {
		p := mustPipeline(t, a)
		defer p.Close()
		sent := make(chan int, 100)
		go func() {
			for i := range 10 {
				request := appendOf(a, 1, 10)
				request.PrevLogEntry = uint64(i)
				if _, err := p.AppendEntries(request, new(raft.AppendEntriesResponse)); err != nil {
					t.Errorf("append %d: %v", i, err)
				}
				sent <- i
			}
		}()
		synctest.Wait()
		if len(sent) != 3 {
			t.Errorf("%d appends are under way without an answer, want 3", len(sent))
		}
		for i := range 10 {
			rpc := <-b.Raft().Consumer()
			request := rpc.Command.(*raft.AppendEntriesRequest)
			if request.PrevLogEntry != uint64(i) {
				t.Errorf("raft got append %d as number %d", request.PrevLogEntry, i)
			}
			rpc.Respond(&raft.AppendEntriesResponse{Term: 3, LastLog: uint64(i), Success: true}, nil)
			f := <-p.Consumer()
			if err := f.Error(); err != nil || f.Response().LastLog != uint64(i) || f.Request().PrevLogEntry != uint64(i) {
				t.Errorf("future %d: %+v, %v", i, f.Response(), err)
			}
		}
	})
}

// TestPipeline_Split checks that each message of a split append takes its place
// in the window, and that there is one future for all.
func TestPipeline_Split(t *testing.T) {
	bubble(t, 2, func(t *testing.T, a, b *node) {
		p := mustPipeline(t, a)
		defer p.Close()
		entries := make(chan int, 100)
		respond(t, b, func(rpc raft.RPC) (any, error) {
			entries <- len(rpc.Command.(*raft.AppendEntriesRequest).Entries)
			return &raft.AppendEntriesResponse{Success: true}, nil
		})
		f, err := p.AppendEntries(appendOf(a, 13, 1<<20), new(raft.AppendEntriesResponse))
		if err != nil {
			t.Fatal(err)
		}
		if got := <-p.Consumer(); got != f || got.Error() != nil {
			t.Errorf("got future %p, %v, want %p", got, got.Error(), f)
		}
		synctest.Wait()
		if len(entries) < 4 || len(p.Consumer()) != 0 {
			t.Errorf("%d messages, %d more futures, want at least 4 and none", len(entries), len(p.Consumer()))
		}
	})
}

// TestPipeline_Fails checks what ends a pipeline, and that raft gets no future
// for what the peer's raft did not answer: it would take it for contact.
func TestPipeline_Fails(t *testing.T) {
	for name, c := range map[string]struct {
		spoil  func(a, b *node, rpc raft.RPC)
		future bool
	}{
		"Rejected":   {func(_, _ *node, rpc raft.RPC) { rpc.Respond(&raft.AppendEntriesResponse{Term: 9}, nil) }, true},
		"RaftFails":  {func(_, _ *node, rpc raft.RPC) { rpc.Respond(nil, errors.New("no")) }, false},
		"Stalls":     {func(_, _ *node, _ raft.RPC) { time.Sleep(time.Minute) }, false},
		"PeerCloses": {func(_, b *node, _ raft.RPC) { b.Close() }, false},
		"PeerSilent": {func(_, b *node, rpc raft.RPC) {
			b.SetSilent(true)
			rpc.Respond(&raft.AppendEntriesResponse{Success: true}, nil)
		}, false},
		"RaftCloses":  {func(a, _ *node, _ raft.RPC) { a.Raft().(raft.WithClose).Close() }, false},
		"OtherAnswer": {func(_, _ *node, rpc raft.RPC) { rpc.Respond(&raft.TimeoutNowResponse{}, nil) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, 2, func(t *testing.T, a, b *node) {
				p := mustPipeline(t, a)
				var futures []raft.AppendFuture
				for range 2 {
					f, err := p.AppendEntries(appendOf(a, 1, 1), new(raft.AppendEntriesResponse))
					if err != nil {
						t.Fatal(err)
					}
					futures = append(futures, f)
				}
				third := make(chan error, 1)
				go func() { // waits for room in the window
					_, err := p.AppendEntries(appendOf(a, 1, 1), new(raft.AppendEntriesResponse))
					third <- err
				}()
				c.spoil(a, b, <-b.Raft().Consumer())
				if err := <-third; err == nil {
					t.Errorf("AppendEntries continues")
				}
				if _, err := p.AppendEntries(appendOf(a, 1, 1), new(raft.AppendEntriesResponse)); err == nil {
					t.Errorf("AppendEntries continues later")
				}
				if got := a.CarriedForTesting("b"); got != 0 {
					t.Errorf("%d is taken to have been told by what was not sent", got)
				}
				synctest.Wait()
				if got := len(p.Consumer()) != 0; got != c.future {
					t.Errorf("a future was handed on: %t, want %t", got, c.future)
				}
				p.Close()
				p.Close()
				for i, f := range futures {
					if err := f.Error(); (err == nil) != (c.future && i == 0) {
						t.Errorf("future %d: got %v", i, err)
					}
				}
			})
		})
	}
}

// TestD6_Silent checks that a silent node neither sends nor answers what keeps it
// in office, not even what was asked before, and that this ends.
func TestD6_Silent(t *testing.T) {
	bubble(t, 2, func(t *testing.T, a, b *node) {
		c := b.Raft().Consumer()
		send := map[string]func() error{
			"append": func() error {
				return a.Raft().AppendEntries("b", "b", appendOf(a, 1, 1), new(raft.AppendEntriesResponse))
			},
			"heartbeat": func() error {
				return a.Raft().AppendEntries("b", "b", &raft.AppendEntriesRequest{RPCHeader: header(a), Term: 1}, new(raft.AppendEntriesResponse))
			},
			"vote": func() error {
				return a.Raft().RequestVote("b", "b", &raft.RequestVoteRequest{RPCHeader: header(a)}, new(raft.RequestVoteResponse))
			},
			"pre-vote": func() error { return vote(a, "b") },
			"snapshot": func() error { return (<-install(a, 1, strings.NewReader("x"))).err },
		}
		answer := func(rpc raft.RPC) (any, error) {
			switch rpc.Command.(type) {
			case *raft.AppendEntriesRequest:
				return &raft.AppendEntriesResponse{Success: true}, nil
			case *raft.RequestVoteRequest:
				return &raft.RequestVoteResponse{}, nil
			case *raft.RequestPreVoteRequest:
				return &raft.RequestPreVoteResponse{}, nil
			case *raft.InstallSnapshotRequest:
				return &raft.InstallSnapshotResponse{Success: true}, nil
			}
			return &raft.TimeoutNowResponse{}, nil
		}
		for what, ask := range send {
			a.SetSilent(true)
			if err := ask(); !errors.Is(err, transport.ErrSilent) {
				t.Errorf("%s while silent: got %v, want ErrSilent", what, err)
			}
			a.SetSilent(false)
			b.SetSilent(true)
			if err := ask(); err == nil || errors.Is(err, transport.ErrSilent) {
				t.Errorf("%s to a silent node: got %v", what, err)
			}
			b.SetSilent(false)
			before := make(chan error, 1)
			go func() { before <- ask() }()
			rpc := <-c
			b.SetSilent(true)
			rpc.Respond(answer(rpc))
			if err := <-before; err == nil {
				t.Errorf("%s: answered although silent by then", what)
			}
			b.SetSilent(false)
			go func() { before <- ask() }()
			rpc = <-c
			rpc.Respond(answer(rpc))
			if err := <-before; err != nil {
				t.Errorf("%s when nobody is silent: %v", what, err)
			}
		}
		a.SetSilent(true)
		if _, err := a.Raft().AppendEntriesPipeline("b", "b"); err == nil {
			p := mustPipeline(t, a)
			defer p.Close()
			if _, err := p.AppendEntries(appendOf(a, 1, 1), new(raft.AppendEntriesResponse)); !errors.Is(err, transport.ErrSilent) {
				t.Errorf("pipeline while silent: got %v, want ErrSilent", err)
			}
		}
		done := make(chan error, 1)
		go func() {
			done <- a.Raft().TimeoutNow("b", "b", &raft.TimeoutNowRequest{RPCHeader: header(a)}, new(raft.TimeoutNowResponse))
		}()
		rpc := <-c
		rpc.Respond(answer(rpc))
		if err := <-done; err != nil {
			t.Errorf("TimeoutNow of a silent leader: %v", err)
		}
	})
}

// TestAppend_Heard checks that a follower is told how far the leader's log is
// committed, by every message of an append that carries less; and nothing by a
// heartbeat or an append that raft did not accept.
func TestAppend_Heard(t *testing.T) {
	addrs := &book{}
	heard := make(chan uint64, 10)
	a := startNode(t, "a", addrs, nil)
	b := startNode(t, "b", addrs, func(c *transport.Config) { c.Heard = func(commit uint64, _ time.Time) { heard <- commit } })
	success := true
	respond(t, b, func(rpc raft.RPC) (any, error) {
		if request := rpc.Command.(*raft.AppendEntriesRequest); request.LeaderCommitIndex > 19 {
			t.Errorf("raft is told %d, beyond the message", request.LeaderCommitIndex)
		}
		return &raft.AppendEntriesResponse{Term: 3, Success: success}, nil
	})
	send := func(request *raft.AppendEntriesRequest) {
		t.Helper()
		if err := a.Raft().AppendEntries("b", "b", request, new(raft.AppendEntriesResponse)); err != nil {
			t.Fatal(err)
		}
	}
	send(appendOf(a, 9, 1<<20))
	for i := range 3 {
		if got := await(t, "what is heard", heard); got != 100 {
			t.Errorf("message %d: heard %d, want 100", i+1, got)
		}
	}
	send(&raft.AppendEntriesRequest{RPCHeader: header(a), Term: 3}) // a heartbeat
	success = false
	send(appendOf(a, 1, 1))
	if len(heard) != 0 {
		t.Errorf("heard %d more", <-heard)
	}
}
