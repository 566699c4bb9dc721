package mvcc

import "unsafe"

// nodeItems is the maximum number of keys of a node: a leaf takes 1 KiB.
const nodeItems = 126

// nodeMin is the minimum number of keys of a node that was filled by splits in the middle.
// It is less than half, so that a delete after a split does not join the halves again.
const nodeMin = nodeItems / 4

// Memory of nodes.
const (
	leafBytes  = int64(unsafe.Sizeof(node{}))
	innerBytes = int64(unsafe.Sizeof(inner{}))
)

// node is a node of a tree: a leaf, or the first part of an inner node. It has no pointers,
// so that the garbage collector does not read leaves.
//
// Invariant: heads[i] is the head of the key of items[i] behind skip bytes, which all
// keys of the node have in common.
type node struct {
	owner  uint64 // the owner of the tree that may write to it
	skip   uint32
	length uint16
	leaf   bool
	heads  [nodeItems]uint32
	items  [nodeItems]uint32 // slots, in the order of their keys
}

// inner is a node with children. Child i comes before item i.
type inner struct {
	node
	children [nodeItems + 1]*node
}

func (n *node) full() bool { return n.length == nodeItems }

// inner returns the whole of a node that is no leaf. A node that is no leaf is always the
// first part of one.
func (n *node) inner() *inner { return (*inner)(unsafe.Pointer(n)) }

// child returns child i of a node that is no leaf.
func (n *node) child(i int) *node { return n.inner().children[i] }

// newLeaf and newInner return nodes that t may change.
func (t *tree) newLeaf() *node {
	t.bytes += leafBytes
	return &node{owner: t.owner, leaf: true}
}

func (t *tree) newInner() *node {
	t.bytes += innerBytes
	return &(&inner{node: node{owner: t.owner}}).node
}

// sibling returns an empty node of the same kind as n.
func (t *tree) sibling(n *node) *node {
	if n.leaf {
		return t.newLeaf()
	}
	return t.newInner()
}

// forget takes a node that the tree has no more off its memory.
func (t *tree) forget(n *node) {
	if n.leaf {
		t.bytes -= leafBytes
	} else {
		t.bytes -= innerBytes
	}
}

// mutable returns n if t may change it, otherwise a copy.
func (t *tree) mutable(n *node) *node {
	if n.owner == t.owner {
		return n
	}
	if n.leaf {
		c := *n
		c.owner = t.owner
		return &c
	}
	c := *n.inner()
	c.owner = t.owner
	return &c.node
}

// mutableChild replaces child i of n by a copy if t may not change the child, and returns
// it. t may change n.
func (t *tree) mutableChild(n *node, i int) *node {
	at := &n.inner().children[i]
	*at = t.mutable(*at)
	return *at
}

// insertAt puts slot before item i of n, which is not full.
func (t *tree) insertAt(n *node, i int, slot uint32, key string) {
	copy(n.items[i+1:], n.items[i:n.length])
	copy(n.heads[i+1:], n.heads[i:n.length])
	n.length++
	t.replaceAt(n, i, slot, key)
}

// replaceAt replaces item i of n by slot, which has key.
func (t *tree) replaceAt(n *node, i int, slot uint32, key string) {
	n.items[i] = slot
	if (i == 0 || i == int(n.length)-1) && t.skipOf(n) != n.skip {
		t.setHeads(n)
		return
	}
	n.heads[i] = headOf(key, n.skip)
}

// skipOf returns the number of bytes that all keys of n have in common.
func (t *tree) skipOf(n *node) uint32 {
	return shared(t.keys.key(n.items[0]), t.keys.key(n.items[n.length-1]))
}

// setHeads computes the common prefix and all heads of n.
func (t *tree) setHeads(n *node) {
	if n.length == 0 {
		return
	}
	n.skip = t.skipOf(n)
	for i, slot := range n.items[:n.length] {
		n.heads[i] = headOf(t.keys.key(slot), n.skip)
	}
}

// removeAt removes item i of n, whose children are in place already.
func (n *node) removeAt(i int) {
	copy(n.items[i:], n.items[i+1:n.length])
	copy(n.heads[i:], n.heads[i+1:n.length])
	n.length--
}

// split splits child i of n into two and moves its item number at up into n. Both nodes may
// be changed; the child is full, and n is not.
func (t *tree) split(n *node, i, at int) {
	left := n.child(i)
	right := t.sibling(left)
	right.length = nodeItems - uint16(at) - 1
	between := left.items[at]
	copy(right.items[:], left.items[at+1:])
	left.length = uint16(at)
	if !left.leaf {
		from := left.inner().children[at+1:]
		copy(right.inner().children[:], from)
		clear(from)
	}
	t.setHeads(left)
	t.setHeads(right)
	children := &n.inner().children
	copy(children[i+2:], children[i+1:n.length+1])
	children[i+1] = right
	t.insertAt(n, i, between, t.keys.key(between))
}

// refill restores the minimum in child i of n, which has lost an item. It takes an item from
// the child's neighbour, or makes one node of both.
func (t *tree) refill(n *node, i int) {
	if n.child(i).length >= nodeMin {
		return
	}
	left := max(i-1, 0) // of the two
	l, r := n.child(left), n.child(left+1)
	switch {
	case l.length+1+r.length <= nodeItems:
		t.join(n, left)
	case left < i:
		t.shiftRight(n, left)
	default:
		t.shiftLeft(n, left)
	}
}

// shiftRight moves the last item of child i of n to the next child, by way of n.
func (t *tree) shiftRight(n *node, i int) {
	l, r := t.mutableChild(n, i), t.mutableChild(n, i+1)
	copy(r.items[1:], r.items[:r.length])
	if !r.leaf {
		from, to := &l.inner().children, &r.inner().children
		copy(to[1:], to[:r.length+1])
		to[0], from[l.length] = from[l.length], nil
	}
	r.items[0] = n.items[i]
	r.length++
	t.setHeads(r)
	last := l.items[l.length-1]
	l.removeAt(int(l.length) - 1)
	t.replaceAt(n, i, last, t.keys.key(last))
}

// shiftLeft moves the first item of child i+1 of n to child i, by way of n.
func (t *tree) shiftLeft(n *node, i int) {
	l, r := t.mutableChild(n, i), t.mutableChild(n, i+1)
	l.items[l.length] = n.items[i]
	l.length++
	if !l.leaf {
		to, from := &l.inner().children, &r.inner().children
		to[l.length] = from[0]
		copy(from[:], from[1:r.length+1])
		from[r.length] = nil
	}
	t.setHeads(l)
	first := r.items[0]
	r.removeAt(0)
	t.replaceAt(n, i, first, t.keys.key(first))
}

// join makes one node of the children i and i+1 of n and the item between them.
func (t *tree) join(n *node, i int) {
	l, r := t.mutableChild(n, i), n.child(i+1)
	l.items[l.length] = n.items[i]
	copy(l.items[l.length+1:], r.items[:r.length])
	if !l.leaf {
		copy(l.inner().children[l.length+1:], r.inner().children[:r.length+1])
	}
	l.length += 1 + r.length
	t.setHeads(l)
	children := &n.inner().children
	copy(children[i+1:], children[i+2:n.length+1])
	children[n.length] = nil
	n.removeAt(i)
	t.forget(r)
}
