package omap

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// indexKey draws keys that have much in common in several ways: long prefixes,
// prefixes of each other, zeros at the end, and none at all.
func indexKey(t *rapid.T) string {
	return rapid.OneOf(
		rapid.Custom(func(t *rapid.T) string { return fmt.Sprintf("key-%012d", rapid.IntRange(0, 500).Draw(t, "n")) }),
		rapid.Custom(func(t *rapid.T) string { return fmt.Sprintf("a/long/common/%d", rapid.IntRange(0, 300).Draw(t, "n")) }),
		rapid.StringOfN(rapid.SampledFrom([]rune{0, 'a', 'b'}), 1, 12, -1),
	).Draw(t, "key")
}

// recordsIn returns all records of an index, in its order.
func recordsIn(x *index) (all []Record) {
	c, ok := x.seek(NewRecord(Item{}))
	for ; ok; ok = c.next() {
		all = append(all, c.current())
	}
	return all
}

// checkIndex fails unless x holds exactly these records and is as its nodes say.
func checkIndex(t interface{ Fatalf(string, ...any) }, x *index, want map[string]Record) {
	all := slices.SortedFunc(maps.Values(want), x.order.compare)
	if got := recordsIn(x); !slices.Equal(got, all) || x.count != len(all) {
		t.Fatalf("got %d records, counted %d, want %d, or others", len(got), x.count, len(all))
	}
	if first, ok := x.first(); ok != (len(all) > 0) || ok && first != all[0] {
		t.Fatalf("wrong first record")
	}
	if x.root != nil {
		checkNode(t, x, x.root)
	}
}

// checkNode checks the invariants of n and what is below it, and returns its depth.
func checkNode(t interface{ Fatalf(string, ...any) }, x *index, n *node) (depth int) {
	if n != x.root && n.length < nodeMin || n.length == 0 {
		t.Fatalf("node of %d records", n.length)
	}
	for i, r := range n.items[:n.length] {
		if x.order.shared(n.items[0], r) < n.skip || n.heads[i] != x.order.head(r, n.skip) {
			t.Fatalf("head %d of %q is wrong behind %d bytes", i, r.Key(), n.skip)
		}
	}
	if slices.ContainsFunc(n.items[n.length:], func(r Record) bool { return r.first != nil }) {
		t.Fatalf("a record is kept behind the last")
	}
	if n.children == nil {
		return 1
	}
	for i, c := range n.children {
		if (c != nil) != (i <= n.length) {
			t.Fatalf("child %d of a node of %d records: %t", i, n.length, c != nil)
		}
		if c == nil {
			continue
		}
		d := checkNode(t, x, c)
		if depth != 0 && d != depth {
			t.Fatalf("leaves at depths %d and %d", d, depth)
		}
		depth = d
	}
	return depth + 1
}

// TestIndex_BehavesLikeASortedMap does random things to an index and to a map, by key and by
// deadline, and takes clones, which must not change.
func TestIndex_BehavesLikeASortedMap(t *testing.T) {
	for name, by := range map[string]*order{"by key": &keyOrder, "by deadline": &deadlineOrder} {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				x, model := newIndex(by), map[string]Record{}
				type frozen struct {
					x     *index
					model map[string]Record
				}
				var clones []frozen
				many := rapid.IntRange(1, 40).Draw(t, "many")
				t.Repeat(map[string]func(*rapid.T){
					"set": func(t *rapid.T) {
						for range many {
							r := NewRecord(Item{Key: indexKey(t), Deadline: rapid.Int64Range(1, 5).Draw(t, "deadline")})
							if old, ok := model[r.Key()]; ok && by == &deadlineOrder {
								x.delete(old)
							}
							x.set(r)
							model[r.Key()] = r
						}
					},
					"delete": func(t *rapid.T) {
						for range many {
							key := indexKey(t)
							old, ok := model[key]
							if !ok {
								old = NewRecord(Item{Key: key})
							}
							x.delete(old)
							delete(model, key)
						}
					},
					"delete all from one on": func(t *rapid.T) {
						from := indexKey(t)
						for key, r := range model {
							if key >= from {
								x.delete(r)
								delete(model, key)
							}
						}
					},
					"clone": func(t *rapid.T) {
						if len(clones) < 3 {
							clones = append(clones, frozen{x.clone(), maps.Clone(model)})
						}
					},
					"": func(t *rapid.T) {
						checkIndex(t, x, model)
						for _, c := range clones {
							checkIndex(t, c.x, c.model)
						}
					},
				})
			})
		})
	}
}

// TestIndex_PrefixesOfEachOther does random things to an index of several levels whose keys
// have prefixes that differ, some with zeros behind them, and checks that a clone
// stays as it was.
func TestIndex_PrefixesOfEachOther(t *testing.T) {
	prefixes := []string{"", "a", "zz", "zz\x00", "zz\x00\x00\x00\x00\x00\x00\x00\x00\x00", "zzz/long/common/prefix/", "zzz/long/common/prefix/\x00\x00"}
	r := rand.New(rand.NewPCG(1, 3))
	key := func() string {
		p := prefixes[r.IntN(len(prefixes))]
		switch r.IntN(3) {
		case 0:
			return p + fmt.Sprint(r.IntN(1000))
		case 1:
			return p + string(make([]byte, r.IntN(20)))
		default:
			return p + fmt.Sprintf("%08d", r.IntN(100_000))
		}
	}
	x, model := newIndex(&keyOrder), map[string]Record{}
	for phase := range 8 {
		clone, before := x.clone(), maps.Clone(model)
		for range 10_000 {
			k := key()
			if grow := phase%2 == 0; grow == (r.IntN(5) > 0) {
				model[k] = NewRecord(Item{Key: k})
				x.set(model[k])
			} else {
				x.delete(NewRecord(Item{Key: k}))
				delete(model, k)
			}
		}
		checkIndex(t, x, model)
		checkIndex(t, clone, before)
	}
}

// TestIndex_OfSeveralLevels grows an index to several levels, in three orders of keys, and
// takes it apart in another.
func TestIndex_OfSeveralLevels(t *testing.T) {
	const n = 20_000
	for _, name := range []string{"ascending", "descending", "random"} {
		t.Run(name, func(t *testing.T) {
			x, model := newIndex(&keyOrder), map[string]Record{}
			r := rand.New(rand.NewPCG(1, 1))
			for _, i := range r.Perm(n) {
				k := i
				switch name {
				case "ascending":
					k = len(model)
				case "descending":
					k = n - len(model)
				}
				rec := NewRecord(Item{Key: fmt.Sprintf("key-%012d", k)})
				x.set(rec)
				model[rec.Key()] = rec
			}
			checkIndex(t, x, model)
			for _, rec := range model { // in no order
				x.delete(rec)
				delete(model, rec.Key())
				if len(model)%4000 == 0 {
					checkIndex(t, x, model)
				}
			}
			if x.root != nil || x.count != 0 {
				t.Errorf("%d records are left", x.count)
			}
		})
	}
}

// TestIndex_SeekAndAfter finds the first record at or after any key, and the one after it.
func TestIndex_SeekAndAfter(t *testing.T) {
	x := newIndex(&keyOrder)
	for i := range 5000 {
		x.set(NewRecord(Item{Key: fmt.Sprintf("%05d", 2*i)}))
	}
	for i := range 10_000 {
		c, ok := x.seek(NewRecord(Item{Key: fmt.Sprintf("%05d", i)}))
		want := fmt.Sprintf("%05d", (i+1)/2*2)
		next, found := x.after(NewRecord(Item{Key: fmt.Sprintf("%05d", i)}))
		if behind := fmt.Sprintf("%05d", i/2*2+2); found != (i < 9998) || found && next.Key() != behind {
			t.Fatalf("after %05d: %t, want %q", i, found, behind)
		}
		if i == 9999 {
			if ok {
				t.Errorf("found %q behind the end", c.key)
			}
			continue
		}
		if !ok || c.key != want {
			t.Fatalf("seek %05d: got %q, %t, want %q", i, c.key, ok, want)
		}
	}
}

// TestIndex_SplitsOnce shows that no search splits two children of one node that
// had room for one record more: not where the first split changes what heads lead
// to, nor where a careful search follows.
func TestIndex_SplitsOnce(t *testing.T) {
	x, model := newIndex(&keyOrder), map[string]Record{}
	set := func(key string) {
		model[key] = NewRecord(Item{Key: key})
		x.set(model[key])
	}
	almostFull := func(n *node) bool {
		return n != nil && n.children != nil && n.length == nodeItems-1 && n.children[n.length].full()
	}
	for i := 0; !almostFull(x.root); i++ {
		set(fmt.Sprintf("zz%08d", 10*i))
	}
	for i := range 10 { // make room for keys in the first child that have nothing in common with the rest
		key := fmt.Sprintf("zz%08d", 10*i)
		x.delete(model[key])
		delete(model, key)
	}
	for i := 0; !x.root.children[0].full(); i++ {
		set(string([]byte{'a', byte(i)}))
	}
	set("zzz") // goes by the heads to the first child, and belongs into the last
	checkIndex(t, x, model)
}

// TestByDeadline_CostsByWhatItYields shows that a walk in the order of deadlines searches
// each shard once, and then once for each record that it yields, wherever it begins.
func TestByDeadline_CostsByWhatItYields(t *testing.T) {
	const keys, shards, levels = 20_000, 64, 3 // of a tree of 300 keys at most
	searches, counting := 0, deadlineOrder
	counting.head = func(r Record, skip int) uint64 {
		searches++ // of one node
		return deadlineOrder.head(r, skip)
	}
	m := New(shards)
	for _, s := range m.shards {
		s.expiring = newIndex(&counting)
	}
	for i := range keys {
		m.Set(Item{Key: fmt.Sprint(i), Deadline: int64(1 + i)})
	}
	for _, tt := range []struct{ from, yielded int }{{0, keys}, {keys / 2, 10}, {keys - 10, 9}, {0, 0}} {
		searches = 0
		left := tt.yielded
		for range m.ByDeadline(m.Record(fmt.Sprint(tt.from)), 1<<62) {
			if left--; left <= 0 {
				break
			}
		}
		if limit := levels * (shards + tt.yielded); searches > limit {
			t.Errorf("%d records behind %d took %d searches of a node, more than %d", tt.yielded, tt.from, searches, limit)
		}
	}
}

// BenchmarkIndex_Set replaces records of random keys among so many, and inserts
// and deletes others.
func BenchmarkIndex_Set(b *testing.B) {
	for _, n := range []int{1000, 100_000} {
		x := newIndex(&keyOrder)
		keys := rand.New(rand.NewPCG(1, 2)).Perm(2 * n)
		records := make([]Record, 2*n)
		for i, k := range keys {
			records[i] = NewRecord(Item{Key: fmt.Sprintf("key-%012d", k), Value: make([]byte, 100)})
		}
		for _, r := range records[:n] {
			x.set(r)
		}
		b.Run(fmt.Sprintf("replace/keys=%d", n), func(b *testing.B) {
			for i := 0; b.Loop(); i++ {
				x.set(records[i*7919%n])
			}
		})
		b.Run(fmt.Sprintf("insert and delete/keys=%d", n), func(b *testing.B) {
			for i := 0; b.Loop(); i++ {
				r := records[n+i*7919%n]
				x.set(r)
				x.delete(r)
			}
		})
	}
}
