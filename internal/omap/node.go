package omap

// nodeItems is the maximum number of records in a node: a node then takes 1 KiB.
const nodeItems = 62

// nodeMin is the minimum number of records of a node that is not the root. It is less than
// half, so that a delete after a split does not join the halves again.
const nodeMin = nodeItems / 4

// node is a node of an index.
//
// Invariant: heads[i] is items[i]'s head behind skip bytes, which all items of
// the node have in common.
type node struct {
	owner    *owner // the index that may write to it
	length   int
	skip     int
	children *[nodeItems + 1]*node // nil in a leaf; child i comes before item i
	heads    [nodeItems]uint64
	items    [nodeItems]Record
}

func (n *node) full() bool { return n.length == nodeItems }

// mutable returns n if x may change it, otherwise a copy.
func (x *index) mutable(n *node) *node {
	if n.owner == x.owner {
		return n
	}
	c := *n
	c.owner = x.owner
	if n.children != nil {
		children := *n.children
		c.children = &children
	}
	return &c
}

// mutableChild replaces child i of n by a copy if x may not change the child, and returns
// it. x may change n.
func (x *index) mutableChild(n *node, i int) *node {
	n.children[i] = x.mutable(n.children[i])
	return n.children[i]
}

// insertAt puts r before item i of n, which is not full.
func (x *index) insertAt(n *node, i int, r Record) {
	copy(n.items[i+1:], n.items[i:n.length])
	copy(n.heads[i+1:], n.heads[i:n.length])
	n.length++
	x.replaceAt(n, i, r)
}

// replaceAt replaces item i of n by r.
func (x *index) replaceAt(n *node, i int, r Record) {
	n.items[i] = r
	if (i == 0 || i == n.length-1) && x.order.shared(n.items[0], n.items[n.length-1]) != n.skip {
		x.setHeads(n)
		return
	}
	n.heads[i] = x.order.head(r, n.skip)
}

// setHeads computes the common prefix and all heads of n.
func (x *index) setHeads(n *node) {
	if n.length == 0 {
		return
	}
	n.skip = x.order.shared(n.items[0], n.items[n.length-1])
	for i, r := range n.items[:n.length] {
		n.heads[i] = x.order.head(r, n.skip)
	}
}

// removeAt removes item i of n, whose children are in place already.
func (n *node) removeAt(i int) {
	copy(n.items[i:], n.items[i+1:n.length])
	copy(n.heads[i:], n.heads[i+1:n.length])
	n.length--
	n.items[n.length] = Record{}
}

// split splits child i of n into two and moves its middle record up into n. Both nodes may
// be changed; the child is full, and n is not.
func (x *index) split(n *node, i int) {
	const middle = nodeItems / 2
	left := n.children[i]
	right := &node{owner: x.owner, length: nodeItems - middle - 1}
	between := left.items[middle]
	copy(right.items[:], left.items[middle+1:])
	clear(left.items[middle:])
	left.length = middle
	if left.children != nil {
		right.children = new([nodeItems + 1]*node)
		copy(right.children[:], left.children[middle+1:])
		clear(left.children[middle+1:])
	}
	x.setHeads(left)
	x.setHeads(right)
	copy(n.children[i+2:], n.children[i+1:n.length+1])
	n.children[i+1] = right
	x.insertAt(n, i, between)
}

// refill restores the minimum in child i of n, which has lost a record. It takes a record
// from the child's neighbour, or makes one node of both.
func (x *index) refill(n *node, i int) {
	if n.children[i].length >= nodeMin {
		return
	}
	left := max(i-1, 0) // of the two
	l, r := n.children[left], n.children[left+1]
	switch {
	case l.length+1+r.length <= nodeItems:
		x.join(n, left)
	case left < i:
		l, r = x.mutableChild(n, left), x.mutableChild(n, left+1)
		copy(r.items[1:], r.items[:r.length])
		if r.children != nil {
			copy(r.children[1:], r.children[:r.length+1])
			r.children[0], l.children[l.length] = l.children[l.length], nil
		}
		r.items[0] = n.items[left]
		r.length++
		x.setHeads(r)
		last := l.items[l.length-1]
		l.removeAt(l.length - 1)
		x.replaceAt(n, left, last)
	default:
		l, r = x.mutableChild(n, left), x.mutableChild(n, left+1)
		l.items[l.length] = n.items[left]
		l.length++
		if l.children != nil {
			l.children[l.length] = r.children[0]
			copy(r.children[:], r.children[1:r.length+1])
			r.children[r.length] = nil
		}
		x.setHeads(l)
		first := r.items[0]
		r.removeAt(0)
		x.replaceAt(n, left, first)
	}
}

// join makes one node of the children i and i+1 of n and the item between them.
func (x *index) join(n *node, i int) {
	l, r := x.mutableChild(n, i), n.children[i+1]
	l.items[l.length] = n.items[i]
	copy(l.items[l.length+1:], r.items[:r.length])
	if l.children != nil {
		copy(l.children[l.length+1:], r.children[:r.length+1])
	}
	l.length += 1 + r.length
	x.setHeads(l)
	copy(n.children[i+1:], n.children[i+2:n.length+1])
	n.children[n.length] = nil
	n.removeAt(i)
}
