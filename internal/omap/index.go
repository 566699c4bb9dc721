package omap

// index is an ordered set of records: a B-tree (Bayer and McCreight, 1972) whose clones
// share nodes until one of them is changed. It is not safe for concurrent use, but any
// number of goroutines may read one that is not changed.
//
// The records are anywhere in memory. So a search that compared whole keys would miss the
// processor's cache at each key. Nodes therefore keep heads: eight bytes of each key, behind
// the prefix that the node's keys have in common. A search by heads can end in the wrong
// place for a key that does not have that prefix. A change checks the place where its
// search ended, and searches again by whole keys if the place is wrong.
type index struct {
	order *order
	root  *node // nil if it is empty
	owner *owner
	count int
}

// owner is the identity of the index that may write to a node.
type owner struct{ _ byte }

func newIndex(by *order) *index { return &index{order: by, owner: new(owner)} }

// clone returns a copy that must not be changed. Its cost does not depend on the number of
// records. After it, a writer of the index copies each node before the node's first change.
func (x *index) clone() *index {
	x.owner = new(owner)
	return &index{order: x.order, root: x.root, count: x.count}
}

// set adds r, or replaces the record that is equal to it.
func (x *index) set(r Record) {
	if x.root == nil {
		x.root = &node{owner: x.owner}
	}
	x.root = x.mutable(x.root)
	for careful := x.order.exact; ; careful = true {
		if x.root.full() { // the search that ended in the wrong place may have filled it
			x.root = x.grown()
		}
		if x.insert(x.root, r, careful) {
			return
		}
	}
}

// grown returns a new root whose children are the halves of the present one, which is full.
func (x *index) grown() *node {
	root := &node{owner: x.owner, children: new([nodeItems + 1]*node)}
	root.children[0] = x.root
	x.split(root, 0)
	return root
}

// insert puts r into the subtree of n, which may be changed and is not full. It returns
// false if the search by heads ended in the wrong place. Then it may have split nodes, but
// the records and their order are the same. A careful search compares whole keys and never
// ends in the wrong place.
//
// Invariant: n is not full when the loop reaches it, so that there is room for the
// record that a split of one of its children moves up. Such a split may make n full.
func (x *index) insert(n *node, r Record, careful bool) bool {
	first, last := true, true // n is the first of its level, the last
	for {
		i, found := x.search(n, r, careful)
		if found {
			n.items[i] = r
			return true
		}
		if n.children == nil {
			if !careful && !x.between(n, i, r, first, last) {
				return false
			}
			x.insertAt(n, i, r)
			x.count++
			return true
		}
		child := x.mutableChild(n, i)
		if child.full() {
			x.split(n, i)
			c := x.order.compare(n.items[i], r) // after the split heads may lead to another child
			if c == 0 {
				n.items[i] = r
				return true
			}
			if c < 0 {
				i++
			}
			child = n.children[i]
		}
		first, last = first && i == 0, last && i == n.length
		n = child
	}
}

// between reports whether r lies between the items i-1 and i of a leaf. If so, it is not in
// the index, and belongs there. first and last mean that the leaf is the first or the last
// one: no item precedes its first item, or follows its last one.
func (x *index) between(n *node, i int, r Record, first, last bool) bool {
	follows, precedes := first, last
	if i > 0 {
		follows = x.order.compare(n.items[i-1], r) < 0
	}
	if i < n.length {
		precedes = x.order.compare(r, n.items[i]) < 0
	}
	return follows && precedes
}

// delete removes the record that is equal to r, if there is one.
func (x *index) delete(r Record) {
	if x.root == nil {
		return
	}
	x.root = x.mutable(x.root)
	if !x.remove(x.root, r, x.order.exact) && !x.remove(x.root, r, true) {
		return
	}
	x.count--
	if x.root.length == 0 {
		if x.root.children == nil {
			x.root = nil
		} else {
			x.root = x.root.children[0]
		}
	}
}

// remove removes the record that is equal to r below n, which may be changed. It returns
// false if there is none, or if heads led it to a wrong place.
func (x *index) remove(n *node, r Record, careful bool) bool {
	i, found := x.search(n, r, careful)
	switch {
	case n.children == nil && found:
		n.removeAt(i)
		return true
	case n.children == nil:
		return false
	case found:
		x.replaceAt(n, i, x.removeLast(x.mutableChild(n, i)))
	case !x.remove(x.mutableChild(n, i), r, careful):
		return false
	}
	x.refill(n, i)
	return true
}

// removeLast removes the last record below n, which may be changed, and returns it.
func (x *index) removeLast(n *node) Record {
	if n.children == nil {
		last := n.items[n.length-1]
		n.removeAt(n.length - 1)
		return last
	}
	last := x.removeLast(x.mutableChild(n, n.length))
	x.refill(n, n.length)
	return last
}

// search returns the number of r in n or, if r is not in n, that of the child that leads to
// it. The latter may be wrong unless careful is set.
func (x *index) search(n *node, r Record, careful bool) (i int, found bool) {
	from, to := 0, n.length
	if !careful || x.order.exact {
		head := x.order.head(r, n.skip)
		for from < to {
			if middle := (from + to) / 2; n.heads[middle] < head {
				from = middle + 1
			} else {
				to = middle
			}
		}
		for to < n.length && n.heads[to] == head {
			to++
		}
	}
	for from < to {
		middle := (from + to) / 2
		switch c := x.order.compare(n.items[middle], r); {
		case c == 0:
			return middle, true
		case c < 0:
			from = middle + 1
		default:
			to = middle
		}
	}
	return from, false
}

// first returns the first record.
func (x *index) first() (Record, bool) {
	n := x.root
	if n == nil {
		return Record{}, false
	}
	for n.children != nil {
		n = n.children[0]
	}
	return n.items[0], true
}

// after returns the first record that comes after r.
func (x *index) after(r Record) (next Record, ok bool) {
	for n := x.root; n != nil; {
		i, found := x.search(n, r, true)
		if found {
			i++
		}
		if i < n.length {
			next, ok = n.items[i], true
		}
		if n.children == nil {
			break
		}
		n = n.children[i]
	}
	return next, ok
}
