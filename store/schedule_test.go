package store_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/kvorum/kvorum/store"
)

// none spares no key.
func none(string) bool { return false }

func TestShardedMap_Due(t *testing.T) {
	m := store.NewShardedMap(4)
	if _, ok := m.NextDeadline(); ok || len(m.Due(1<<62, 10)) != 0 {
		t.Error("an empty map has a deadline")
	}
	m.Set(store.Item{Key: "never"})
	var want []string
	for _, deadline := range []int64{30, 10, 20} {
		for _, key := range []string{"c", "a", "b"} {
			m.Set(store.Item{Key: fmt.Sprint(deadline, key), Deadline: deadline})
			want = append(want, fmt.Sprint(deadline, key))
		}
	}
	slices.Sort(want)
	for _, tt := range []struct {
		now       int64
		max, want int
	}{{9, 10, 0}, {10, 10, 3}, {29, 10, 6}, {29, 4, 4}, {1 << 62, 100, 9}, {1 << 62, 0, 0}} {
		var got []string
		for _, it := range m.Due(tt.now, tt.max) {
			got = append(got, it.Key)
		}
		if !slices.Equal(got, want[:tt.want]) {
			t.Errorf("Due(%d, %d): got %q, want %q", tt.now, tt.max, got, want[:tt.want])
		}
	}
	if next, ok := m.NextDeadline(); !ok || next != 10 {
		t.Errorf("NextDeadline: got %d, %t", next, ok)
	}
	for _, key := range want[:3] {
		m.Delete(key)
	}
	if next, ok := m.NextDeadline(); !ok || next != 20 {
		t.Errorf("NextDeadline after the first are gone: got %d, %t", next, ok)
	}
}

func TestShardedMap_Victims(t *testing.T) {
	m := store.NewShardedMap(4)
	for i := range int64(8) { // few enough to be in every sample
		m.Set(store.Item{Key: fmt.Sprint(i), Deadline: map[bool]int64{true: 100 - i}[i < 4], Updated: 1})
	}
	at := time.Now().UnixNano()
	for i := range 8 { // 7 is read first and most, 0 last and least
		for range i + 1 {
			m.Touch(fmt.Sprint(i), at-int64(i)*int64(time.Second))
		}
	}
	spare := func(key string) bool { return key == "0" || key == "7" }
	for _, tt := range []struct {
		policy store.EvictionPolicy
		n      int
		want   []string // nil: any that are not spared
	}{
		{store.EvictionNone, 3, []string{}},
		{store.EvictionLRU, 6, []string{"6", "5", "4", "3", "2", "1"}},
		{store.EvictionLFU, 6, []string{"1", "2", "3", "4", "5", "6"}},
		{store.EvictionTTL, 3, []string{"3", "2", "1"}},
		{store.EvictionTTL, 6, nil}, {store.EvictionRandom, 6, nil}, {store.EvictionRandom, 1, nil},
		{store.EvictionLRU, 0, []string{}},
	} {
		var got []string
		for _, it := range m.Victims(tt.policy, tt.n, spare) {
			got = append(got, it.Key)
		}
		if tt.want != nil && !slices.Equal(got, tt.want) {
			t.Errorf("%s: got %q, want %q", tt.policy, got, tt.want)
		}
		slices.Sort(got)
		if distinct := slices.Compact(got); tt.want == nil && len(distinct) != tt.n || slices.ContainsFunc(got, spare) {
			t.Errorf("%s: got %q, want %d that are not spared", tt.policy, got, tt.n)
		}
	}
	if got := m.Victims(store.EvictionLFU, 100, none); len(got) != 8 {
		t.Errorf("more victims than keys: got %d", len(got))
	}
}
