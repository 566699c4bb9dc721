package omap_test

import (
	"bytes"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/kvorum/kvorum/internal/omap"
)

func TestNew_ShardsAreAPowerOfTwo(t *testing.T) {
	for _, tt := range []struct{ shards, want int }{
		{-1, omap.DefaultShards},
		{0, omap.DefaultShards},
		{1, 1},
		{2, 2},
		{3, 4},
		{33, 64},
		{omap.MaxShards - 1, omap.MaxShards},
		{omap.MaxShards + 1, omap.MaxShards},
		{1 << 40, omap.MaxShards},
	} {
		if got := len(omap.New(tt.shards).Shards()); got != tt.want {
			t.Errorf("New(%d): got %d shards, want %d", tt.shards, got, tt.want)
		}
	}
}

func TestMap_SetReturnsTheOldItem(t *testing.T) {
	m := omap.New(4)
	first := omap.Item{Key: "k", Value: []byte("one"), CreateRevision: 1, ModRevision: 2, Version: 3}
	second := omap.Item{Key: "k", Value: []byte("three"), CreateRevision: 1, ModRevision: 1 << 63, Version: 1<<64 - 1}

	if old, existed := m.Set(first); existed {
		t.Errorf("first Set: got old %v, want none", old)
	}
	old, existed := m.Set(second)
	checkItem(t, "second Set's old", old, existed, first)
	got, ok := m.Get("k")
	checkItem(t, "Get", got, ok, second)
	if m.Len() != 1 || m.Size() != int64(len("k")+len("three")) {
		t.Errorf("got Len %d and Size %d, want 1 and 6", m.Len(), m.Size())
	}

	old, existed = m.Delete("k")
	checkItem(t, "Delete's old", old, existed, second)
	if _, existed := m.Delete("k"); existed {
		t.Error("Delete of an absent key: got true, want false")
	}
	if _, ok := m.Get("k"); ok {
		t.Error("Get of an absent key: got true, want false")
	}
	if m.Len() != 0 || m.Size() != 0 {
		t.Errorf("got Len %d and Size %d, want 0 and 0", m.Len(), m.Size())
	}
}

// TestMap_OwnsWhatItHolds shows that the caller may change its own slice, and that a value
// that was read does not change with the key.
func TestMap_OwnsWhatItHolds(t *testing.T) {
	m := omap.New(1)
	value := []byte("before")
	m.Set(omap.Item{Key: "k", Value: value})
	copy(value, "XXXXXX")
	got, _ := m.Get("k")
	m.Set(omap.Item{Key: "k", Value: []byte("after!")})
	m.Delete("k")
	if string(got.Value) != "before" {
		t.Errorf("got value %q, want %q", got.Value, "before")
	}
	if extended := append(got.Value, 'x'); &extended[0] == &got.Value[0] {
		t.Error("append to a returned value reuses the record's memory")
	}
}

func TestMap_TooLargeItemPanics(t *testing.T) {
	for name, it := range map[string]omap.Item{
		"item": {Key: "k", Value: make([]byte, omap.MaxItemSize)}, // its untouched pages cost no memory
		"key":  {Key: strings.Repeat("k", omap.MaxKeyLength+1)},
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("Set did not panic")
				}
			}()
			omap.New(1).Set(it)
		})
	}
	it := omap.Item{Key: strings.Repeat("k", omap.MaxKeyLength), Value: []byte("v")}
	m := omap.New(1)
	m.Set(it)
	if got, ok := m.Get(it.Key); !ok || got.Key != it.Key || string(got.Value) != "v" {
		t.Error("the longest key is not there")
	}
}

// TestView_StartLongerThanAnyKey shows that a start may be longer than any key.
func TestView_StartLongerThanAnyKey(t *testing.T) {
	m := omap.New(2)
	longest := strings.Repeat("k", omap.MaxKeyLength)
	for _, key := range []string{"a", longest, "l"} {
		m.Set(omap.Item{Key: key})
	}
	var got []string
	for it := range m.View().All("", longest+"k") {
		got = append(got, it.Key)
	}
	if !slices.Equal(got, []string{"l"}) {
		t.Errorf("got %d keys", len(got))
	}
}

func TestView_AllHasPrefixAndStart(t *testing.T) {
	m := omap.New(8)
	keys := []string{"", "\x00", "a", "a\x00", "a/", "a/1", "a/10", "a/2", "a0", "b", "b\xff", "b\xff\xff", "c", "\xff", "\xff\xff"}
	for _, k := range keys {
		m.Set(omap.Item{Key: k})
	}
	slices.Sort(keys)
	v := m.View()
	for _, prefix := range append(keys, "a/3", "zz") {
		for _, start := range append(keys, "a/11", "zz") {
			var want []string
			for _, k := range keys {
				if strings.HasPrefix(k, prefix) && k >= start {
					want = append(want, k)
				}
			}
			if got := keysOf(v.All(prefix, start)); !slices.Equal(got, want) {
				t.Errorf("All(%q, %q): got %q, want %q", prefix, start, got, want)
			}
		}
	}
}

func TestView_WalkStopsEarly(t *testing.T) {
	m := omap.New(4)
	const n = 5000
	for i := range n {
		m.Set(omap.Item{Key: fmt.Sprintf("%05d", i)})
	}
	v := m.View()
	for _, limit := range []int{0, 1, 3, 4, 5, 63, 64, 1000, n} {
		var got []string
		for it := range v.All("", "") {
			if len(got) == limit {
				break
			}
			got = append(got, it.Key)
		}
		if len(got) != limit || limit > 0 && got[limit-1] != fmt.Sprintf("%05d", limit-1) {
			t.Errorf("limit %d: got %d keys, the last %q", limit, len(got), got[max(0, len(got)-1):])
		}
	}
}

// TestMap_BehavesLikeAGoMap compares the map and its views with a Go map and its copies.
func TestMap_BehavesLikeAGoMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := omap.New(rapid.IntRange(1, 9).Draw(t, "shards"))
		model := map[string]omap.Item{}
		key := rapid.StringMatching(`[ab/]{0,4}`)
		type frozen struct {
			view *omap.View
			want map[string]omap.Item
		}
		views := []frozen{{m.View(), nil}}
		t.Repeat(map[string]func(*rapid.T){
			"set": func(t *rapid.T) {
				it := omap.Item{
					Key:            key.Draw(t, "key"),
					Value:          rapid.SliceOfN(rapid.Byte(), 0, 200).Draw(t, "value"),
					CreateRevision: rapid.Uint64().Draw(t, "create"),
					ModRevision:    rapid.Uint64().Draw(t, "mod"),
					Version:        rapid.Uint64().Draw(t, "version"),
				}
				want, wantOK := model[it.Key]
				if got, ok := m.Set(it); ok != wantOK || !equal(got, want) {
					t.Fatalf("Set(%q): got old %v %v, want %v %v", it.Key, got, ok, want, wantOK)
				}
				model[it.Key] = it
			},
			"delete": func(t *rapid.T) {
				k := key.Draw(t, "key")
				want, wantOK := model[k]
				if got, ok := m.Delete(k); ok != wantOK || !equal(got, want) {
					t.Fatalf("Delete(%q): got %v %v, want %v %v", k, got, ok, want, wantOK)
				}
				delete(model, k)
			},
			"view": func(*rapid.T) { views = append(views, frozen{m.View(), maps.Clone(model)}) },
			"walk": func(t *rapid.T) {
				f := rapid.SampledFrom(views).Draw(t, "view")
				checkWalk(t, f.view, f.want, key.Draw(t, "prefix"), key.Draw(t, "start"))
			},
			"": func(t *rapid.T) {
				var size int64
				for k, want := range model {
					size += int64(len(k) + len(want.Value))
					if got, ok := m.Get(k); !ok || !equal(got, want) {
						t.Fatalf("Get(%q): got %v %v, want %v", k, got, ok, want)
					}
				}
				if m.Len() != len(model) || m.Size() != size {
					t.Fatalf("got Len %d, Size %d, want %d, %d", m.Len(), m.Size(), len(model), size)
				}
			},
		})
		for _, f := range views {
			checkWalk(t, f.view, f.want, "", "")
		}
	})
}

// A view that is taken during writes shows one instant. The writer writes its pass's number
// to the keys in order, pass after pass. So at any instant the numbers along the keys fall at
// most once, by one, and never rise.
func TestView_IsOneInstant(t *testing.T) {
	m := omap.New(16)
	const keys = 200
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for pass := uint64(1); ; pass++ {
			for i := range keys {
				select {
				case <-done:
					return
				default:
					m.Set(omap.Item{Key: fmt.Sprintf("%03d", i), Version: pass})
				}
			}
		}
	})
	defer wg.Wait()
	defer close(done)
	for range 1000 {
		var first, last uint64
		for it := range m.View().All("", "") {
			if first == 0 {
				first, last = it.Version, it.Version
			}
			if it.Version > last || it.Version+1 < first {
				t.Fatalf("view mixes instants: key %s has pass %d after %d, the first %d", it.Key, it.Version, last, first)
			}
			last = it.Version
		}
	}
}

func checkWalk(t *rapid.T, v *omap.View, model map[string]omap.Item, prefix, start string) {
	t.Helper()
	got := slices.Collect(v.All(prefix, start))
	var want []omap.Item
	for _, k := range slices.Sorted(maps.Keys(model)) {
		if strings.HasPrefix(k, prefix) && k >= start {
			want = append(want, model[k])
		}
	}
	if !slices.EqualFunc(got, want, equal) {
		t.Fatalf("All(%q, %q): got %v, want %v", prefix, start, got, want)
	}
	if v.Len() != len(model) {
		t.Fatalf("view's Len: got %d, want %d", v.Len(), len(model))
	}
	var size int64
	for k, it := range model {
		size += int64(len(k) + len(it.Value))
	}
	if v.Size() != size {
		t.Fatalf("view's Size: got %d, want %d", v.Size(), size)
	}
}

func checkItem(t *testing.T, what string, got omap.Item, ok bool, want omap.Item) {
	t.Helper()
	if !ok || !equal(got, want) {
		t.Errorf("%s: got %v (%v), want %v", what, got, ok, want)
	}
}

func equal(a, b omap.Item) bool {
	return a.Key == b.Key && bytes.Equal(a.Value, b.Value) &&
		a.CreateRevision == b.CreateRevision && a.ModRevision == b.ModRevision && a.Version == b.Version
}

func keysOf(seq iter.Seq[omap.Item]) []string {
	var keys []string
	for it := range seq {
		keys = append(keys, it.Key)
	}
	return keys
}
