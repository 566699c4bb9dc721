package cluster

import "testing"

// TestLeadership_TermsOfItsOwn has a node lose leadership and win it again so
// quickly that nobody looked in between: the new term still has to begin.
func TestLeadership_TermsOfItsOwn(t *testing.T) {
	l := newLeadership()
	l.setLeader("n1", "n1", 3)
	l.setTerm(&termStart{term: 3})
	_, changed := l.current()
	l.setLeader("n1", "n1", 3)
	select {
	case <-changed:
		t.Fatal("nothing has changed")
	default:
	}
	l.setLeader("n1", "n1", 5)
	select {
	case <-changed:
	default:
		t.Error("nobody is woken")
	}
	if state, _ := l.current(); state.leader != "n1" || state.term != nil {
		t.Errorf("got %+v, want a leader whose term has not begun", state)
	}
}
