package transport_test

import (
	"context"
	"errors"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/transport"
)

// TestLostTail_Answers has a follower acknowledge entries 11 and 12 in term 3,
// and answer the next append in several ways. Only a log that has become shorter
// in the same term is reported, and only that answer is kept from raft.
func TestLostTail_Answers(t *testing.T) {
	for name, c := range map[string]struct {
		acknowledged int    // entries behind entry 10, in term 3
		term         uint64 // of the next append
		heartbeat    bool
		answer       raft.AppendEntriesResponse
		told         bool
	}{
		"shorter":                {2, 3, false, raft.AppendEntriesResponse{Term: 3, LastLog: 5}, true},
		"by one entry":           {2, 3, false, raft.AppendEntriesResponse{Term: 3, LastLog: 11}, true},
		"shorter, and mended":    {2, 3, false, raft.AppendEntriesResponse{Term: 3, LastLog: 5, Success: true}, true},
		"as long":                {2, 3, false, raft.AppendEntriesResponse{Term: 3, LastLog: 12}, false},
		"longer":                 {2, 3, false, raft.AppendEntriesResponse{Term: 3, LastLog: 20, Success: true}, false},
		"of a later term":        {2, 3, false, raft.AppendEntriesResponse{Term: 4, LastLog: 5}, false},
		"in this leader's next":  {2, 4, false, raft.AppendEntriesResponse{Term: 4, LastLog: 5}, false},
		"nothing acknowledged":   {0, 3, false, raft.AppendEntriesResponse{Term: 3, LastLog: 5}, false},
		"answer to a heartbeat":  {2, 3, true, raft.AppendEntriesResponse{Term: 3, Success: true}, false},
		"refusal of a heartbeat": {2, 3, true, raft.AppendEntriesResponse{Term: 3, LastLog: 5}, false},
	} {
		t.Run(name, func(t *testing.T) {
			addrs := new(book)
			var told []transport.LostTailError
			a := startNode(t, "a", addrs, func(cfg *transport.Config) {
				cfg.LostTail = func(_ context.Context, lost *transport.LostTailError) { told = append(told, *lost) }
			})
			b := startNode(t, "b", addrs, nil)
			answer := raft.AppendEntriesResponse{Term: 3, LastLog: 10, Success: true}
			respond(t, b, func(raft.RPC) (any, error) { copied := answer; return &copied, nil })
			if c.acknowledged > 0 {
				if err := a.Raft().AppendEntries("b", "b", appendOf(a, c.acknowledged, 10), new(raft.AppendEntriesResponse)); err != nil {
					t.Fatal(err)
				}
			}
			answer = c.answer
			request := appendOf(a, 0, 0)
			request.Term = c.term
			if c.heartbeat {
				request = &raft.AppendEntriesRequest{RPCHeader: header(a), Term: c.term}
			}
			var resp raft.AppendEntriesResponse
			err := a.Raft().AppendEntries("b", "b", request, &resp)
			var lost *transport.LostTailError
			if errors.As(err, &lost) != c.told || len(told) > 0 != c.told || err != nil && !c.told {
				t.Fatalf("got %v, and %d reports, want %t", err, len(told), c.told)
			}
			want := transport.LostTailError{Peer: "b", Term: 3, Acknowledged: 12, Last: c.answer.LastLog}
			if c.told && (*lost != want || told[0] != want) {
				t.Errorf("got %+v and %+v, want %+v", *lost, told[0], want)
			}
			if !c.told && (resp.LastLog != c.answer.LastLog || resp.Success != c.answer.Success) {
				t.Errorf("got %+v, want what was answered", resp)
			}
		})
	}
}

// TestPeers_MatchGrows checks that an append which brings nothing new does not
// take back what a peer has acknowledged in the same term.
func TestPeers_MatchGrows(t *testing.T) {
	a, b := pair(t)
	respond(t, b, func(raft.RPC) (any, error) {
		return &raft.AppendEntriesResponse{Term: 3, LastLog: 20, Success: true}, nil
	})
	for _, c := range []struct {
		entries int
		term    uint64
		want    uint64
	}{{4, 3, 14}, {1, 3, 14}, {0, 3, 14}, {5, 3, 15}, {2, 4, 12}, {9, 3, 12}} {
		request := appendOf(a, c.entries, 1)
		request.Term = c.term
		if err := a.Raft().AppendEntries("b", "b", request, new(raft.AppendEntriesResponse)); err != nil {
			t.Fatal(err)
		}
		if got := a.Peers()[0].Match; got != c.want {
			t.Errorf("after %d entries in term %d: match %d, want %d", c.entries, c.term, got, c.want)
		}
	}
}
