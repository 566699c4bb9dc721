package transport_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/transport"
)

// teller is a leader of term 3, and a follower whose raft the test is.
type teller struct {
	a, b            *node
	term, committed atomic.Uint64
	got             chan *raft.AppendEntriesRequest // what the follower's raft gets
	answer          atomic.Pointer[raft.AppendEntriesResponse]
}

// newTeller starts both. The leader has committed entry 100.
func newTeller(t *testing.T, tune func(*transport.Config)) *teller {
	t.Helper()
	addrs, l := new(book), &teller{got: make(chan *raft.AppendEntriesRequest, 100)}
	l.term.Store(3)
	l.committed.Store(100)
	l.answer.Store(&raft.AppendEntriesResponse{Term: 3, LastLog: 200, Success: true})
	l.a = startNode(t, "a", addrs, func(c *transport.Config) {
		c.CurrentTerm, c.Committed = l.term.Load, l.committed.Load
		if tune != nil {
			tune(c)
		}
	})
	l.b = startNode(t, "b", addrs, nil)
	respond(t, l.b, func(rpc raft.RPC) (any, error) {
		l.got <- rpc.Command.(*raft.AppendEntriesRequest)
		answer := *l.answer.Load()
		return &answer, nil
	})
	mustCall(t, l.a, "b", "connected")
	return l
}

// append has the leader's raft send entries behind entry 10, and the follower answer. The
// append says that the log is committed up to commit.
func (l *teller) append(t *testing.T, entries int, commit uint64) {
	t.Helper()
	request := appendOf(l.a, entries, 10)
	request.LeaderCommitIndex = commit
	if err := l.a.Raft().AppendEntries("b", "b", request, new(raft.AppendEntriesResponse)); err != nil {
		t.Fatal(err)
	}
	await(t, "the append of raft", l.got)
}

// told returns how far the follower's raft is told that the log is committed, and fails
// the test unless that is by an append which this leader's raft could send.
func (l *teller) told(t *testing.T, prev uint64) uint64 {
	t.Helper()
	return l.check(t, await(t, "the append that tells", l.got), prev)
}

// check is told for a message that has arrived.
func (l *teller) check(t *testing.T, got *raft.AppendEntriesRequest, prev uint64) uint64 {
	t.Helper()
	if string(got.ID) != "a" || string(got.Addr) != "a" || got.Term != 3 || got.PrevLogEntry != prev || got.PrevLogTerm != 3 || len(got.Entries) != 0 {
		t.Errorf("got %+v, want an append of term 3 behind entry %d", got, prev)
	}
	return got.LeaderCommitIndex
}

// nothing fails the test if more is being told than what has been, or anything has come.
func (l *teller) nothing(t *testing.T, what string, before uint64) {
	t.Helper()
	if got := l.a.CarriedForTesting("b"); got != before || len(l.got) != 0 {
		t.Errorf("%s: told %d and %d messages more, want none beyond %d", what, got, len(l.got), before)
	}
}

// TestTellCommitted checks that a follower is told what is committed of the entries that
// it has acknowledged, and each thing once.
func TestTellCommitted(t *testing.T) {
	l := newTeller(t, nil)
	l.a.TellCommittedTo("b") // whose log is not known
	l.append(t, 5, 10)       // to 15
	if got := l.told(t, 15); got != 15 {
		t.Errorf("told %d without being asked, want 15: it is committed already", got)
	}
	l.a.TellCommitted(t.Context())
	l.a.TellCommittedTo("b")
	l.nothing(t, "again", 15)
	l.append(t, 9, 17) // to 19
	if got := l.told(t, 19); got != 19 {
		t.Errorf("told %d, want 19", got)
	}
	l.committed.Store(18)
	l.a.TellCommittedTo("b")
	l.nothing(t, "less than before", 19)
}

// TestTellCommitted_AfterAcknowledgement commits entries that the follower has
// acknowledged long ago.
func TestTellCommitted_AfterAcknowledgement(t *testing.T) {
	l := newTeller(t, nil)
	l.committed.Store(10)
	l.append(t, 5, 10)
	l.committed.Store(12)
	l.a.TellCommitted(t.Context())
	if got := l.told(t, 15); got != 12 {
		t.Errorf("told %d, want 12", got)
	}
	l.committed.Store(15)
	l.a.TellCommittedTo("b")
	if got := l.told(t, 15); got != 15 {
		t.Errorf("told %d, want 15", got)
	}
}

// TestTellCommitted_OfLaterTerm moves the leader's term on, and with it its commit index,
// at the worst moment: that index is of a history which the follower's log need not have.
func TestTellCommitted_OfLaterTerm(t *testing.T) {
	var l *teller
	var deposed atomic.Bool
	l = newTeller(t, func(c *transport.Config) {
		c.Committed = func() uint64 {
			if deposed.Load() {
				l.term.Store(4) // a node takes on the term before it takes a commit index
				return 14
			}
			return 10
		}
	})
	l.append(t, 5, 10)
	deposed.Store(true)
	l.a.TellCommittedTo("b")
	l.nothing(t, "by an earlier leader", 10)
	if l.term.Load() != 4 {
		t.Error("nobody has asked for the commit index")
	}
}

// TestTellCommitted_Refused has the follower refuse to be told, as one does that has met
// a later leader: nothing follows from that, and it is told again when there is reason.
func TestTellCommitted_Refused(t *testing.T) {
	l := newTeller(t, nil)
	l.committed.Store(10)
	l.append(t, 5, 10)
	l.answer.Store(&raft.AppendEntriesResponse{Term: 5})
	l.committed.Store(15)
	for range 2 {
		l.a.TellCommittedTo("b")
		if got := l.told(t, 15); got != 15 {
			t.Errorf("told %d, want 15", got)
		}
		poll(t, "the refusal has arrived", func() bool { return l.a.CarriedForTesting("b") == 0 })
	}
	if peers := l.a.Peers(); peers[0].Match != 15 || peers[0].MatchTerm != 3 {
		t.Errorf("the log of the peer is this node's up to %d of term %d", peers[0].Match, peers[0].MatchTerm)
	}
}

// TestTellCommitted_Restarted cuts the connections. Another process may answer from then
// on, which was told nothing: it is told before raft sends anything.
func TestTellCommitted_Restarted(t *testing.T) {
	l := newTeller(t, nil)
	l.append(t, 5, 100)
	l.nothing(t, "what the append has told", 15)
	l.b.Forget("a")
	poll(t, "it is connected again", func() bool {
		beat := &raft.AppendEntriesRequest{RPCHeader: header(l.a), Term: 3}
		return l.a.Raft().AppendEntries("b", "b", beat, new(raft.AppendEntriesResponse)) == nil
	})
	// Heartbeats have another connection, so the append arrives before or behind them.
	tells := await(t, "the append that tells", l.got)
	for tells.PrevLogEntry == 0 {
		tells = await(t, "the append that tells", l.got)
	}
	if got := l.check(t, tells, 15); got != 15 {
		t.Errorf("told %d, want 15", got)
	}
}

// TestTellCommitted_Silent checks that a silent leader tells nothing.
func TestTellCommitted_Silent(t *testing.T) {
	l := newTeller(t, nil)
	l.committed.Store(10)
	l.append(t, 5, 10)
	l.committed.Store(15)
	l.a.SetSilent(true)
	l.a.TellCommittedTo("b")
	poll(t, "it was tried", func() bool { return l.a.CarriedForTesting("b") == 0 })
	l.nothing(t, "by a silent leader", 0)
	l.a.SetSilent(false)
	l.a.TellCommittedTo("b")
	if got := l.told(t, 15); got != 15 {
		t.Errorf("told %d, want 15", got)
	}
}

// TestHeartbeat_Committed checks that a heartbeat and an append have with them what is
// known to be all that was committed, for Config.Heard alone: not the commit index of a
// leader whose term has only begun.
func TestHeartbeat_Committed(t *testing.T) {
	var all atomic.Uint64
	all.Store(100)
	l := newTeller(t, func(c *transport.Config) { c.AllCommitted = all.Load })
	addrs, heard := new(book), make(chan uint64, 10)
	c := startNode(t, "c", addrs, func(cfg *transport.Config) {
		cfg.Heard = func(commit uint64, _ time.Time) { heard <- commit }
	})
	l.a.book.set("c", c.addr)
	var deposed atomic.Bool
	respond(t, c, func(rpc raft.RPC) (any, error) {
		if got := rpc.Command.(*raft.AppendEntriesRequest); got.LeaderCommitIndex != 0 && len(got.Entries) == 0 {
			t.Errorf("raft is told %d by a heartbeat", got.LeaderCommitIndex)
		}
		return &raft.AppendEntriesResponse{Term: 3, Success: !deposed.Load()}, nil
	})
	beat := func() {
		t.Helper()
		request := &raft.AppendEntriesRequest{RPCHeader: header(l.a), Term: 3}
		if err := l.a.Raft().AppendEntries("c", "c", request, new(raft.AppendEntriesResponse)); err != nil {
			t.Fatal(err)
		}
	}
	beat()
	if got := await(t, "what is heard", heard); got != 100 {
		t.Errorf("heard %d, want 100", got)
	}
	all.Store(0) // not known, though raft has a commit index
	beat()
	request := appendOf(l.a, 1, 10)
	request.LeaderCommitIndex = 9
	if err := l.a.Raft().AppendEntries("c", "c", request, new(raft.AppendEntriesResponse)); err != nil {
		t.Fatal(err)
	}
	all.Store(100)
	deposed.Store(true)
	beat()
	if len(heard) != 0 {
		t.Errorf("heard %d more", <-heard)
	}
}

// TestTellCommitted_Writing checks that nothing is told while an entry is on its way into
// the log, whose append tells it, and that it is told when that has ended.
func TestTellCommitted_Writing(t *testing.T) {
	var writing atomic.Bool
	writing.Store(true)
	asked := make(chan struct{}, 1)
	l := newTeller(t, func(c *transport.Config) {
		c.Writing = func() bool {
			select {
			case asked <- struct{}{}:
			default:
			}
			return writing.Load()
		}
	})
	l.append(t, 5, 10)
	for range 5 { // a pause of the log each time
		await(t, "a question whether an entry is being written", asked)
	}
	l.nothing(t, "while writing", 10)
	writing.Store(false)
	if got := l.told(t, 15); got != 15 {
		t.Errorf("told %d once nothing is written, want 15", got)
	}
}
