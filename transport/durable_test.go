package transport_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/transport"
)

// TestAppend_SaysWhatIsDurable sends appends of a leader whose own log is durable up to entry
// 12. Raft says that entry 15 is committed, and the follower is told 12.
func TestAppend_SaysWhatIsDurable(t *testing.T) {
	l := newTeller(t, func(c *transport.Config) {
		c.PipelineWindow = 2
		c.Durable = func() uint64 { return 12 }
	})
	l.committed.Store(0) // only raft's own appends tell anything
	send := map[string]func(*raft.AppendEntriesRequest) error{
		"one": func(request *raft.AppendEntriesRequest) error {
			return l.a.Raft().AppendEntries("b", "b", request, new(raft.AppendEntriesResponse))
		},
		"pipeline": func(request *raft.AppendEntriesRequest) error {
			p, err := l.a.Raft().AppendEntriesPipeline("b", "b")
			if err != nil {
				return err
			}
			defer p.Close()
			f, err := p.AppendEntries(request, new(raft.AppendEntriesResponse))
			if err != nil {
				return err
			}
			<-p.Consumer()
			return f.Error()
		},
	}
	for name, send := range send {
		for commit, want := range map[uint64]uint64{15: 12, 11: 11} {
			request := appendOf(l.a, 5, 10)
			request.LeaderCommitIndex = commit
			if err := send(request); err != nil {
				t.Fatal(err)
			}
			if got := await(t, "the append", l.got).LeaderCommitIndex; got != want {
				t.Errorf("%s: told that entry %d is committed, want %d", name, got, want)
			}
		}
	}
}

// TestAppend_AnswerWaits has raft accept an append of entries that this node's disk does not
// take. The leader is not told that they are stored.
func TestAppend_AnswerWaits(t *testing.T) {
	addrs := new(book)
	a := startNode(t, "a", addrs, nil)
	var asked []uint64
	b := startNode(t, "b", addrs, func(c *transport.Config) {
		c.AwaitDurable = func(index uint64, _ <-chan struct{}) error {
			asked = append(asked, index)
			return errors.New("broken disk")
		}
	})
	success := true
	respond(t, b, func(raft.RPC) (any, error) {
		return &raft.AppendEntriesResponse{Term: 3, LastLog: 15, Success: success}, nil
	})
	for _, entries := range []int{5, 0} {
		err := a.Raft().AppendEntries("b", "b", appendOf(a, entries, 10), new(raft.AppendEntriesResponse))
		if err == nil || !strings.Contains(err.Error(), "broken disk") {
			t.Errorf("%d entries: %v", entries, err)
		}
	}
	success = false
	if err := a.Raft().AppendEntries("b", "b", appendOf(a, 1, 10), new(raft.AppendEntriesResponse)); err != nil {
		t.Errorf("a refusal: %v", err)
	}
	if len(asked) != 2 || asked[0] != 15 || asked[1] != 10 {
		t.Errorf("asked for %v, want 15 and 10", asked)
	}
}
