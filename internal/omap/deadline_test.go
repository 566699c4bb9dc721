package omap_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/kvorum/kvorum/internal/omap"
)

// dueKeys returns the keys of up to limit records behind after whose deadline is at or
// before until.
func dueKeys(m *omap.Map, after omap.Record, until int64, limit int) (keys []string) {
	for r := range m.ByDeadline(after, until) {
		if len(keys) == limit {
			break
		}
		keys = append(keys, r.Key())
	}
	return keys
}

// TestMap_ByDeadlineIsInOrder shows that ByDeadline yields the due records in the order of
// deadline and key.
func TestMap_ByDeadlineIsInOrder(t *testing.T) {
	m := omap.New(4)
	if _, ok := m.NextDeadline(); ok || dueKeys(m, omap.Record{}, 1<<62, 10) != nil {
		t.Error("an empty map has a deadline")
	}
	m.Set(omap.Item{Key: "never"})
	var want []string
	for _, deadline := range []int64{30, 10, 20} {
		for _, key := range []string{"c", "a", "b"} {
			m.Set(omap.Item{Key: fmt.Sprint(deadline, key), Deadline: deadline})
			want = append(want, fmt.Sprint(deadline, key))
		}
	}
	slices.Sort(want)
	for _, tt := range []struct {
		until       int64
		limit, want int
	}{{9, 10, 0}, {10, 10, 3}, {29, 10, 6}, {29, 4, 4}, {1 << 62, 100, 9}, {1 << 62, 0, 0}} {
		if got := dueKeys(m, omap.Record{}, tt.until, tt.limit); !slices.Equal(got, want[:tt.want]) {
			t.Errorf("until %d, %d: got %q, want %q", tt.until, tt.limit, got, want[:tt.want])
		}
	}
	for i, key := range want {
		after := m.Record(key)
		if got := dueKeys(m, after, 1<<62, 100); !slices.Equal(got, want[i+1:]) {
			t.Errorf("behind %q: got %q, want %q", key, got, want[i+1:])
		}
		m.Delete(key)
		if got := dueKeys(m, after, 1<<62, 100); !slices.Equal(got, want[i+1:]) {
			t.Errorf("behind %q, which is gone: got %q, want %q", key, got, want[i+1:])
		}
	}
}

// TestMap_NextDeadlineIsTheNearest shows that NextDeadline follows changes of deadlines.
func TestMap_NextDeadlineIsTheNearest(t *testing.T) {
	m := omap.New(4)
	next := func(want int64) {
		t.Helper()
		if got, ok := m.NextDeadline(); got != want || ok != (want != 0) {
			t.Errorf("got %d, %t, want %d", got, ok, want)
		}
	}
	m.Set(omap.Item{Key: "a", Deadline: 10})
	m.Set(omap.Item{Key: "b", Deadline: 20})
	next(10)
	m.Set(omap.Item{Key: "a", Deadline: 30})
	next(20)
	m.Set(omap.Item{Key: "b"})
	next(30)
	m.Delete("a")
	next(0)
}

// TestMap_DeadlinesBelowZero shows that negative deadlines come first.
func TestMap_DeadlinesBelowZero(t *testing.T) {
	m := omap.New(1)
	for _, deadline := range []int64{5, -3, 7, -1} {
		m.Set(omap.Item{Key: fmt.Sprint(deadline), Deadline: deadline})
	}
	if next, ok := m.NextDeadline(); !ok || next != -3 {
		t.Errorf("NextDeadline: got %d, %t, want -3", next, ok)
	}
	if got := dueKeys(m, omap.Record{}, 5, 10); !slices.Equal(got, []string{"-3", "-1", "5"}) {
		t.Errorf("until 5: got %q", got)
	}
}
