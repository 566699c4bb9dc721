package store

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// dueKeys returns the keys of up to max records whose deadline is at or before now.
func dueKeys(m *ShardedMap, now int64, max int) (keys []string) {
	for r := range m.byDeadline(record{}, now) {
		if len(keys) == max {
			break
		}
		keys = append(keys, r.key())
	}
	return keys
}

func TestShardedMap_ByDeadline(t *testing.T) {
	m := NewShardedMap(4)
	if _, ok := m.NextDeadline(); ok || dueKeys(m, 1<<62, 10) != nil {
		t.Error("an empty map has a deadline")
	}
	m.Set(Item{Key: "never"})
	var want []string
	for _, deadline := range []int64{30, 10, 20} {
		for _, key := range []string{"c", "a", "b"} {
			m.Set(Item{Key: fmt.Sprint(deadline, key), Deadline: deadline})
			want = append(want, fmt.Sprint(deadline, key))
		}
	}
	slices.Sort(want)
	for _, tt := range []struct {
		now       int64
		max, want int
	}{{9, 10, 0}, {10, 10, 3}, {29, 10, 6}, {29, 4, 4}, {1 << 62, 100, 9}, {1 << 62, 0, 0}} {
		if got := dueKeys(m, tt.now, tt.max); !slices.Equal(got, want[:tt.want]) {
			t.Errorf("by deadline until %d, %d: got %q, want %q", tt.now, tt.max, got, want[:tt.want])
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

// victimKeys returns the keys of up to n victims.
func victimKeys(m *ShardedMap, policy EvictionPolicy, n int, spare func(string) bool) (keys []string) {
	taken := func(key string) bool { return slices.Contains(keys, key) || spare(key) }
	for r := range m.victims(policy, record{}, evictsMany(int64(n), int64(m.Len())), taken) {
		if keys = append(keys, r.key()); len(keys) == n {
			break
		}
	}
	return keys
}

func TestShardedMap_Victims(t *testing.T) {
	m := NewShardedMap(4)
	for i := range int64(8) { // few enough to be in every sample
		m.Set(Item{Key: fmt.Sprint(i), Deadline: map[bool]int64{true: 100 - i}[i < 4], Updated: 1})
	}
	at := time.Now().UnixNano()
	for i := range 8 { // 7 is read first and most, 0 last and least
		for range i + 1 {
			m.get(fmt.Sprint(i)).touch(at - int64(i)*int64(time.Second))
		}
	}
	spare := func(key string) bool { return key == "0" || key == "7" }
	for _, tt := range []struct {
		policy EvictionPolicy
		n      int
		want   []string // nil: any that are not spared
	}{
		{EvictionNone, 3, []string{}},
		{EvictionLRU, 6, []string{"6", "5", "4", "3", "2", "1"}},
		{EvictionLFU, 6, []string{"1", "2", "3", "4", "5", "6"}},
		{EvictionTTL, 3, []string{"3", "2", "1"}},
		{EvictionTTL, 6, nil}, {EvictionRandom, 6, nil}, {EvictionRandom, 1, nil},
	} {
		got := victimKeys(m, tt.policy, tt.n, spare)
		if tt.want != nil && !slices.Equal(got, tt.want) {
			t.Errorf("%s: got %q, want %q", tt.policy, got, tt.want)
		}
		slices.Sort(got)
		if distinct := slices.Compact(got); tt.want == nil && len(distinct) != tt.n || slices.ContainsFunc(got, spare) {
			t.Errorf("%s: got %q, want %d that are not spared", tt.policy, got, tt.n)
		}
	}
	if got := victimKeys(m, EvictionLFU, 100, func(string) bool { return false }); len(got) != 8 {
		t.Errorf("more victims than keys: got %d", len(got))
	}
}
