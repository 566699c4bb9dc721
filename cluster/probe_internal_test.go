package cluster

import (
	"context"
	"errors"
	"testing"
	"time"
)

func TestMedianClock(t *testing.T) {
	for name, tt := range map[string]struct {
		walls []int64
		want  int64
	}{
		"Alone":        {[]int64{7}, 7},
		"TwoOneFast":   {[]int64{1 << 60, 7}, 7},
		"ThreeOneFast": {[]int64{8, 1 << 60, 7}, 8},
		"ThreeOneSlow": {[]int64{8, 0, 7}, 7},
		"Four":         {[]int64{1, 2, 3, 4}, 2},
		"Five":         {[]int64{5, 1, 4, 2, 3}, 3},
	} {
		var answers []probeAnswer
		for _, w := range tt.walls {
			answers = append(answers, probeAnswer{wall: w})
		}
		if got := medianClock(answers); got != tt.want {
			t.Errorf("%s: got %d, want %d", name, got, tt.want)
		}
	}
}

func TestProbeAnswer_Encoding(t *testing.T) {
	want := probeAnswer{term: 1<<63 + 5, wall: -3}
	if got, err := decodeProbeAnswer(want.encode()); err != nil || got != want {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	for _, b := range [][]byte{nil, make([]byte, 15), make([]byte, 17)} {
		if _, err := decodeProbeAnswer(b); err == nil {
			t.Errorf("%d bytes: got no error", len(b))
		}
	}
}

// TestD1_D2_ReadIndex shows what a leader refuses to read by: a term that it has
// not begun (D2: its commit index may be behind what was acknowledged), a term
// that has passed, and voters that have gone beyond it or don't answer (D1: old
// answers don't count).
func TestD1_D2_ReadIndex(t *testing.T) {
	nodes := openCluster(t, 3, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	leader := leaderOf(t, nodes)
	if _, err := leader.Put(ctx, "k", nil, Condition{}); err != nil {
		t.Fatal(err)
	}
	r, err := leader.joined()
	if err != nil {
		t.Fatal(err)
	}
	state, _ := r.leaders.current()
	if index, err := r.leaderReadIndex(ctx, state.term); err != nil || index < r.fsm.AppliedIndex() {
		t.Errorf("got index %d, %v, want %d at least", index, err, r.fsm.AppliedIndex())
	}
	if _, err := r.leaderReadIndex(ctx, nil); !errors.Is(err, ErrNotLeader) {
		t.Errorf("a term that has not begun: got %v", err)
	}
	earlier := *state.term
	earlier.term--
	if _, err := r.leaderReadIndex(ctx, &earlier); !errors.Is(err, ErrNotLeader) {
		t.Errorf("an earlier term: got %v", err)
	}
	if _, err := r.probe(ctx, state.term.term-1, 0); !errors.Is(err, ErrNotLeader) {
		t.Errorf("voters beyond the term: got %v", err)
	}
	for _, n := range nodes {
		if n != leader {
			if err := n.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := r.probe(ctx, state.term.term, 0); !errors.Is(err, ErrNoLeader) {
		t.Errorf("no voter answers: got %v", err)
	}
	brief, cancelBrief := context.WithTimeout(ctx, 300*time.Millisecond)
	defer cancelBrief()
	if _, err := leader.Get(brief, "k", ReadOptions{}); err == nil {
		t.Error("a leader without voters has served a linearizable read")
	}
}

// TestProbe_OneVoterIsAway shows that a majority is enough.
func TestProbe_OneVoterIsAway(t *testing.T) {
	nodes := openCluster(t, 3, nil)
	leader := leaderOf(t, nodes)
	for _, n := range nodes {
		if n != leader {
			if err := n.Close(); err != nil {
				t.Fatal(err)
			}
			break
		}
	}
	r, err := leader.joined()
	if err != nil {
		t.Fatal(err)
	}
	state, _ := r.leaders.current()
	for _, settle := range []time.Duration{0, clockSettle} {
		if answers, err := r.probe(t.Context(), state.term.term, settle); err != nil || len(answers) != 2 {
			t.Errorf("got %d answers, %v, want 2", len(answers), err)
		}
	}
}
