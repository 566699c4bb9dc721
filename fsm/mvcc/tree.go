package mvcc

import (
	"encoding/binary"
	"strings"
)

// tree is an ordered set of keys: a B-tree (Bayer and McCreight, 1972) of the keys' slots,
// whose clones share nodes until one of them is changed. It changes only when a key is made,
// or vanishes. It is not safe for concurrent use, but any number of goroutines may read one
// that is not changed.
//
// The keys are anywhere in memory. So a search that compared whole keys would miss the
// processor's cache at each key. Nodes therefore keep heads: four bytes of each key, behind
// the prefix that the node's keys have in common. A search by heads can end in the wrong
// place for a key that does not have that prefix. A change checks the place where its
// search ended, and searches again by whole keys if the place is wrong.
type tree struct {
	keys  *keys
	root  *node // nil if it is empty
	owner uint64
	bytes int64 // of all nodes
}

// clone returns a copy that must not be changed. Its cost does not depend on the number of
// keys. After it, the tree's writer copies each node before the node's first change.
func (t *tree) clone() tree {
	c := *t
	t.owner++
	return c
}

// shared returns the number of leading bytes that two keys have in common.
func shared(a, b string) uint32 {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return uint32(i)
		}
	}
	return uint32(n)
}

// headOf returns the four bytes of key behind skip, zeros behind its end, as a number. Among
// keys that have the first skip bytes in common, one that precedes another has no greater
// head.
func headOf(key string, skip uint32) uint32 {
	if uint64(len(key)) >= uint64(skip)+4 {
		return binary.BigEndian.Uint32([]byte(key[skip : skip+4]))
	}
	var b [4]byte
	if int(skip) < len(key) {
		copy(b[:], key[skip:])
	}
	return binary.BigEndian.Uint32(b[:])
}

// insert adds the key of slot, which is not in the tree.
func (t *tree) insert(key string, slot uint32) {
	if t.root == nil {
		t.root = t.newLeaf()
	}
	t.root = t.mutable(t.root)
	for careful := false; ; careful = true {
		if t.root.full() { // the search that ended in the wrong place may have filled it
			t.grow(key)
		}
		if t.insertBelow(t.root, key, slot, careful) {
			return
		}
	}
}

// grow makes a new root whose children are the halves of the present one, which is full.
func (t *tree) grow(key string) {
	root := t.newInner()
	root.inner().children[0] = t.root
	t.split(root, 0, t.splitPoint(t.root, key, true))
	t.root = root
}

// splitPoint returns the number of the item at which n is split to make room for key. It is
// the middle, unless key follows all others: keys are often added in order, and then nodes
// stay full.
func (t *tree) splitPoint(n *node, key string, last bool) int {
	if last && t.keys.key(n.items[n.length-1]) < key {
		return nodeItems - 2
	}
	return nodeItems / 2
}

// insertBelow puts slot into the subtree of n, which may be changed and is not full. It
// returns false if the search by heads ended in the wrong place. Then it may have split
// nodes, but the keys and their order are the same. A careful search compares whole keys
// and never ends in the wrong place.
//
// Invariant: n is not full when the loop reaches it, so that there is room for the item that
// a split of one of its children moves up. Such a split may make n full.
func (t *tree) insertBelow(n *node, key string, slot uint32, careful bool) bool {
	var around bounds
	for {
		i := t.search(n, key, careful)
		if n.leaf {
			if around.narrow(n, i); !careful && !t.within(around, key) {
				return false
			}
			t.insertAt(n, i, slot, key)
			return true
		}
		child := t.mutableChild(n, i)
		if child.full() {
			last := around.upper == 0 && i == int(n.length)
			t.split(n, i, t.splitPoint(child, key, last))
			if t.keys.key(n.items[i]) < key { // after the split heads may lead to another child
				i++
			}
			child = n.child(i)
		}
		around.narrow(n, i)
		n = child
	}
}

// bounds are the slots of the nearest keys on both sides of a place in the tree, 0 where
// there is none.
type bounds struct{ lower, upper uint32 }

// narrow moves the bounds to those of item i of a node within them.
func (b *bounds) narrow(n *node, i int) {
	if i > 0 {
		b.lower = n.items[i-1]
	}
	if i < int(n.length) {
		b.upper = n.items[i]
	}
}

// within reports whether key is above the lower bound and not above the upper one. If not,
// heads led a search to a wrong place.
func (t *tree) within(b bounds, key string) bool {
	return (b.lower == 0 || t.keys.key(b.lower) < key) && (b.upper == 0 || key <= t.keys.key(b.upper))
}

// delete removes the key of slot, which is in the tree.
func (t *tree) delete(key string, slot uint32) {
	t.root = t.mutable(t.root)
	if !t.remove(t.root, key, slot, false) {
		t.remove(t.root, key, slot, true)
	}
	if t.root.length > 0 {
		return
	}
	t.forget(t.root)
	if t.root.leaf {
		t.root = nil
	} else {
		t.root = t.root.child(0)
	}
}

// remove removes slot below n, which may be changed. It returns false if heads led it to a
// wrong place.
func (t *tree) remove(n *node, key string, slot uint32, careful bool) bool {
	i := t.search(n, key, careful)
	found := i < int(n.length) && n.items[i] == slot
	switch {
	case n.leaf && found:
		n.removeAt(i)
		return true
	case n.leaf:
		return false
	case found:
		last := t.removeLast(t.mutableChild(n, i))
		t.replaceAt(n, i, last, t.keys.key(last))
	case !t.remove(t.mutableChild(n, i), key, slot, careful):
		return false
	}
	t.refill(n, i)
	return true
}

// removeLast removes the last item below n, which may be changed, and returns it.
func (t *tree) removeLast(n *node) uint32 {
	if n.leaf {
		n.length--
		return n.items[n.length]
	}
	last := t.removeLast(t.mutableChild(n, int(n.length)))
	t.refill(n, int(n.length))
	return last
}

// search returns the number of the first item of n that is not before key: the item with that
// key, or the child that leads to it. The result may be wrong unless careful is set.
func (t *tree) search(n *node, key string, careful bool) int {
	from, to := 0, int(n.length)
	if !careful {
		head := headOf(key, n.skip)
		for from < to {
			if middle := int(uint(from+to) / 2); n.heads[middle] < head {
				from = middle + 1
			} else {
				to = middle
			}
		}
		for to < int(n.length) && n.heads[to] == head {
			to++
		}
	}
	for from < to {
		if middle := int(uint(from+to) / 2); strings.Compare(t.keys.key(n.items[middle]), key) < 0 {
			from = middle + 1
		} else {
			to = middle
		}
	}
	return from
}
