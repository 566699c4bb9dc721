package cluster

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/cluster/replica"
	"github.com/kvorum/kvorum/kv"
)

func TestHealth_Stable(t *testing.T) {
	h := newHealth()
	at := time.Unix(100, 0)
	for i, step := range []struct {
		applied uint64
		pass    time.Duration
		ok      bool
	}{
		{800, 0, false}, {900, time.Second, false}, // just caught up
		{900, promoteStable - 1, false}, {900, 1, true}, {1000, 0, true},
		{871, 0, false}, // behind again
		{1000, time.Second, false}, {1000, promoteStable, true},
	} {
		at = at.Add(step.pass)
		if err := h.stable("n", replica.Info{AppliedIndex: step.applied}, 1000, at); (err == nil) != step.ok || err != nil && !errors.Is(err, kv.ErrBehind) {
			t.Errorf("step %d: got %v, want stable %t", i, err, step.ok)
		}
	}
	h.begin(7)
	if err := h.stable("n", replica.Info{AppliedIndex: 1000}, 1000, at); err == nil {
		t.Error("what was seen in an earlier term still counts")
	}
}

func TestHealth_Observe(t *testing.T) {
	h := newHealth()
	at := time.Unix(100, 0)
	observe := func(pass time.Duration, answered map[raft.ServerID]bool) string {
		at = at.Add(pass)
		dead := h.observe(answered, 10*time.Second, at)
		slices.Sort(dead)
		return fmt.Sprint(dead)
	}
	down := map[raft.ServerID]bool{"a": true, "b": false, "c": false}
	for i, step := range []struct {
		pass     time.Duration
		answered map[raft.ServerID]bool
		want     string
	}{
		{0, down, "[]"},
		{9 * time.Second, down, "[]"},
		{time.Second, down, "[b c]"},
		{0, map[raft.ServerID]bool{"a": true, "b": true, "c": false}, "[c]"},
		{time.Hour, map[raft.ServerID]bool{"a": true, "b": false}, "[]"}, // c is no member any more
		{10 * time.Second, down, "[b]"},
	} {
		if got := observe(step.pass, step.answered); got != step.want {
			t.Errorf("step %d: got %s, want %s", i, got, step.want)
		}
	}
	h.begin(2)
	if got := observe(time.Second, down); got != "[]" {
		t.Errorf("in a new term: got %s, want none", got)
	}
}
