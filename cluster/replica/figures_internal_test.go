package replica

import (
	"errors"
	"strings"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/kv"
	"github.com/kvorum/kvorum/transport"
)

func TestProbeAnswer_Encoding(t *testing.T) {
	for _, want := range []probeAnswer{
		{term: 1<<63 + 5, wall: -3},
		{term: 1<<63 + 5, wall: -3, run: 1<<63 + 1, elapsed: -7, count: -9},
	} {
		if got, err := decodeProbeAnswer(want.encode()); err != nil || got != want {
			t.Errorf("got %+v, %v, want %+v", got, err, want)
		}
	}
	for _, b := range [][]byte{nil, make([]byte, 15), make([]byte, 17), make([]byte, 41)} {
		if _, err := decodeProbeAnswer(b); err == nil {
			t.Errorf("%d bytes: got no error", len(b))
		}
	}
}

// TestTrailing: what stays behind a snapshot is about as much as the snapshot has.
func TestTrailing(t *testing.T) {
	for _, tt := range []struct{ newest, want int64 }{{0, 16 << 20}, {20 << 20, 20 << 20}, {1 << 30, 64 << 20}} {
		if got := trailingBytes(tt.newest, 64<<20); got != tt.want {
			t.Errorf("snapshot of %d: got %d, want %d", tt.newest, got, tt.want)
		}
	}
	if got := new(Replica).trailing(true); got != 0 {
		t.Errorf("on a full disk: got %d", got)
	}
}

// TestSpread: nodes differ in how long their logs get, and none goes beyond what was
// configured.
func TestSpread(t *testing.T) {
	const n = 64 << 20
	a, b := spread(n, "n1.a"), spread(n, "n2.a")
	if a == b {
		t.Errorf("both nodes have %d", a)
	}
	for _, got := range []int64{a, b} {
		if got > n || got < n*2/3 {
			t.Errorf("got %d of %d", got, n)
		}
	}
}

// TestPeerStatus_Term shows that what a peer had in an earlier term is not told.
func TestPeerStatus_Term(t *testing.T) {
	p := transport.PeerStats{ID: "n2.x", Match: 40, MatchTerm: 3}
	for _, c := range []struct {
		leading              bool
		term, wantMatch, lag uint64
	}{{true, 3, 40, 10}, {true, 4, 0, 50}, {false, 3, 0, 0}} {
		if got := peerStatus(p, c.leading, c.term, 50); got.MatchIndex != c.wantMatch || got.Lag != c.lag {
			t.Errorf("term %d, leading %v: got %+v", c.term, c.leading, got)
		}
	}
}

// steppingDown is a raft that leads in term 7, and follows in term 8 once somebody has
// looked at its role.
type steppingDown struct{ looks int }

func (s *steppingDown) State() raft.RaftState {
	s.looks++
	if s.looks > 1 {
		return raft.Follower
	}
	return raft.Leader
}

func (s *steppingDown) CurrentTerm() uint64 { return 7 + uint64(min(s.looks, 1)) }

// TestStatus_RoleInItsTerm shows no leader in the term that ended its own: two leaders
// in one term would be what a reader concludes.
func TestStatus_RoleInItsTerm(t *testing.T) {
	if role, term := roleAndTerm(new(steppingDown)); role != raft.Follower || term != 8 {
		t.Errorf("got %v in term %d, want a follower in term 8", role, term)
	}
}

// A load that has not ended says how much it has read.
func TestLoading_Status(t *testing.T) {
	var l Loading
	if err := (&kv.LoadingError{Status: l.Status()}); err.Error() != kv.ErrLoading.Error() || !errors.Is(err, kv.ErrLoading) {
		t.Errorf("before the first phase: got %q", err)
	}
	l.Begin()
	l.set(phaseCheck, 5, 10)
	l.set(phaseRestore, 1, 4)
	if s := l.Status(); s.Phase != loadPhaseNames[phaseRestore].name || s.Percent != 25 || s.Unit != "bytes" {
		t.Errorf("of two phases: got %+v, want the first one", s)
	}
	l.end(phaseRestore)
	err := (&kv.LoadingError{Status: l.Status()}).Error()
	if !strings.Contains(err, "checking the log, 5 of 10 bytes (50 %)") {
		t.Errorf("got %q", err)
	}
	l.end(phaseCheck)
	if s := l.Status(); s.Phase != "" {
		t.Errorf("in the end: got %+v", s)
	}
}
