package mvcc

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/kvorum/kvorum/kv"
)

// treeKey draws keys that have much in common in several ways: long prefixes, prefixes of
// each other, zeros at the end, and none at all.
func treeKey(t *rapid.T) string {
	return rapid.OneOf(
		rapid.Custom(func(t *rapid.T) string { return fmt.Sprintf("key-%012d", rapid.IntRange(0, 1000).Draw(t, "n")) }),
		rapid.Custom(func(t *rapid.T) string { return fmt.Sprintf("a/long/common/%d", rapid.IntRange(0, 300).Draw(t, "n")) }),
		rapid.StringOfN(rapid.SampledFrom([]rune{0, 'a', 'b'}), 0, 12, -1),
	).Draw(t, "key")
}

// testTree is a tree with a slot for each key.
type testTree struct {
	k     keys
	t     tree
	model map[string]uint32
}

func newTestTree() *testTree {
	x := &testTree{model: map[string]uint32{}}
	x.k.arena.init(1 << 16)
	x.k.slots.init()
	x.t.keys = &x.k
	return x
}

func (x *testTree) insert(key string) {
	if _, has := x.model[key]; has {
		return
	}
	r, _ := x.k.arena.put(&x.k.arena.fresh, &Version{Item: kv.Item{Key: key}}, link{})
	slot := x.k.slots.take(r)
	x.t.insert(key, slot)
	x.model[key] = slot
}

func (x *testTree) delete(key string) {
	if slot, has := x.model[key]; has {
		x.t.delete(key, slot)
		delete(x.model, key)
	}
}

// slotsIn returns all slots of a tree, in its order.
func slotsIn(t *tree) (all []uint32) {
	var c cursor
	for c.seek(t, ""); c.valid(); c.next() {
		all = append(all, c.slot())
	}
	return all
}

// sorted returns the slots of a model in the order of the keys.
func sorted(model map[string]uint32) (all []uint32) {
	for _, key := range slices.Sorted(maps.Keys(model)) {
		all = append(all, model[key])
	}
	return all
}

// checkNode checks the invariants of n and what is below it, and returns its depth and its
// memory.
func checkNode(t interface{ Fatalf(string, ...any) }, x *tree, n *node) (depth int, bytes int64) {
	if n.length == 0 || n.full() && n.length > nodeItems {
		t.Fatalf("node of %d keys", n.length)
	}
	if n.skip > x.skipOf(n) {
		t.Fatalf("skip is %d", n.skip)
	}
	for i, slot := range n.items[:n.length] {
		if n.heads[i] != headOf(x.keys.key(slot), n.skip) {
			t.Fatalf("head %d of %q is wrong behind %d bytes", i, x.keys.key(slot), n.skip)
		}
	}
	if n.leaf {
		return 1, leafBytes
	}
	bytes = innerBytes
	for i, c := range n.inner().children {
		if (c != nil) != (i <= int(n.length)) {
			t.Fatalf("child %d of a node of %d keys: %t", i, n.length, c != nil)
		}
		if c == nil {
			continue
		}
		d, b := checkNode(t, x, c)
		if depth != 0 && d != depth {
			t.Fatalf("leaves at depths %d and %d", d, depth)
		}
		depth, bytes = d, bytes+b
	}
	return depth + 1, bytes
}

func checkTree(t interface{ Fatalf(string, ...any) }, x *tree, model map[string]uint32) {
	if got, want := slotsIn(x), sorted(model); !slices.Equal(got, want) {
		t.Fatalf("got %d keys %v, want %d %v", len(got), got, len(want), want)
	}
	if x.root == nil {
		return
	}
	if _, bytes := checkNode(t, x, x.root); bytes != x.bytes {
		t.Fatalf("counted %d bytes, want %d", x.bytes, bytes)
	}
}

// TestTree_BehavesLikeASortedMap does random things to a tree and to a map, and takes
// clones, which must not change.
func TestTree_BehavesLikeASortedMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x := newTestTree()
		type frozen struct {
			t     tree
			model map[string]uint32
		}
		var clones []frozen
		many := rapid.IntRange(1, 200).Draw(t, "many")
		t.Repeat(map[string]func(*rapid.T){
			"insert": func(t *rapid.T) {
				for range many {
					x.insert(treeKey(t))
				}
			},
			"insert in order": func(t *rapid.T) {
				from := rapid.IntRange(0, 1000).Draw(t, "from")
				for i := range many {
					x.insert(fmt.Sprintf("key-%012d", from+i))
				}
			},
			"delete": func(t *rapid.T) {
				for range many {
					x.delete(treeKey(t))
				}
			},
			"delete all from one on": func(t *rapid.T) {
				from := treeKey(t)
				for _, key := range slices.Sorted(maps.Keys(x.model)) {
					if key >= from {
						x.delete(key)
					}
				}
			},
			"clone": func(*rapid.T) {
				clones = append(clones, frozen{x.t.clone(), maps.Clone(x.model)})
			},
			"seek": func(t *rapid.T) {
				key := treeKey(t)
				checkSeek(t, &x.t, x.model, key)
			},
			"": func(t *rapid.T) { checkTree(t, &x.t, x.model) },
		})
		for _, c := range clones {
			checkTree(t, &c.t, c.model)
		}
	})
}

// checkSeek compares cursors around key with the model.
func checkSeek(t *rapid.T, x *tree, model map[string]uint32, key string) {
	all := slices.Sorted(maps.Keys(model))
	at, _ := slices.BinarySearch(all, key)
	var c cursor
	i := at
	for c.seek(x, key); c.valid(); c.next() {
		if i == len(all) || c.slot() != model[all[i]] {
			t.Fatalf("from %q on: got %q at %d of %d", key, x.keys.key(c.slot()), i, len(all))
		}
		i++
	}
	if i != len(all) {
		t.Fatalf("from %q on: ended at %d of %d", key, i, len(all))
	}
	if i = at; key == "" {
		i = len(all)
	}
	for c.seekBefore(x, key); c.valid(); c.previous() {
		if i--; i < 0 || c.slot() != model[all[i]] {
			t.Fatalf("before %q: got %q at %d of %d", key, x.keys.key(c.slot()), i, len(all))
		}
	}
	if i != 0 {
		t.Fatalf("before %q: ended at %d", key, i)
	}
}

// TestTree_OfManyKeys builds trees of every small size and of some large ones, and changes
// them.
func TestTree_OfManyKeys(t *testing.T) {
	sizes := []int{nodeFill * nodeFill, roomAbove(nodeFill), roomAbove(nodeFill) + 1, 30_000}
	for n := range 3 * nodeItems {
		sizes = append(sizes, n)
	}
	for _, n := range sizes {
		x := newTestTree()
		for i := range n {
			key := fmt.Sprintf("key-%012d", 2*i)
			r, _ := x.k.arena.put(&x.k.arena.fresh, &Version{Item: kv.Item{Key: key}}, link{})
			x.model[key] = x.k.slots.take(r)
		}
		x.t.build(n)
		checkTree(t, &x.t, x.model)
		for i := range min(n, 300) {
			x.insert(fmt.Sprintf("key-%012d", 7*i))
			x.delete(fmt.Sprintf("key-%012d", 4*i))
		}
		checkTree(t, &x.t, x.model)
	}
}
