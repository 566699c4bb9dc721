package leadership_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/cluster/leadership"
	"github.com/kvorum/kvorum/kv"
)

// TestLeadership_TermsOfItsOwn has a node lose leadership and win it again so
// quickly that nobody looked in between: the new term still has to begin.
func TestLeadership_TermsOfItsOwn(t *testing.T) {
	l := leadership.New()
	l.SetLeader("n1", "n1", 3)
	l.SetTerm(leadership.BeginTerm(3, nil))
	_, changed := l.Current()
	l.SetLeader("n1", "n1", 3)
	select {
	case <-changed:
		t.Fatal("nothing has changed")
	default:
	}
	l.SetLeader("n1", "n1", 5)
	select {
	case <-changed:
	default:
		t.Error("nobody is woken")
	}
	if state, _ := l.Current(); state.Leader != "n1" || state.Term != nil {
		t.Errorf("got %+v, want a leader whose term has not begun", state)
	}
}

// TestOutOfTime is the table of what a request is told that was not done in its time.
func TestOutOfTime(t *testing.T) {
	for _, tt := range []struct {
		leader raft.ServerID
		last   error
		want   error
	}{
		{"", nil, kv.ErrNoLeader},
		{"", kv.ErrOverloaded, kv.ErrNoLeader},
		{"", kv.ErrTimeout, kv.ErrNoLeader},
		{"n2.x", nil, kv.ErrTimeout},
		{"n2.x", fmt.Errorf("ask n2: %w", kv.ErrOverloaded), kv.ErrOverloaded},
		{"n2.x", fmt.Errorf("ask n2: %w", kv.ErrTimeout), kv.ErrTimeout},
		{"n2.x", kv.ErrNotLeader, kv.ErrNoLeader},
		{"n2.x", fmt.Errorf("%w: ask n2: refused", kv.ErrNoLeader), kv.ErrNoLeader},
	} {
		l := leadership.New()
		l.SetLeader(tt.leader, "n1.x", 1)
		got := l.OutOfTime(tt.last)
		if !errors.Is(got, tt.want) || (tt.want == kv.ErrNoLeader) != errors.Is(got, kv.ErrNoLeader) {
			t.Errorf("leader %q, after %v: got %v, want %v", tt.leader, tt.last, got, tt.want)
		}
	}
}

// TestNoneInTime shows that an error says once that no leader is known.
func TestNoneInTime(t *testing.T) {
	for _, tt := range []struct {
		last error
		want string
	}{
		{nil, "no leader is known within the request's time"},
		{kv.ErrNoLeader, "no leader is known within the request's time"},
		{leadership.NoneInTime(nil), "no leader is known within the request's time"},
		{fmt.Errorf("%w: ask n2: refused", kv.ErrNoLeader), "no leader is known: ask n2: refused"},
		{kv.ErrNotLeader, "no leader is known within the request's time: this node is not the leader"},
	} {
		got := leadership.NoneInTime(tt.last)
		if !errors.Is(got, kv.ErrNoLeader) || got.Error() != tt.want {
			t.Errorf("after %v: got %q, want %q", tt.last, got, tt.want)
		}
	}
}
