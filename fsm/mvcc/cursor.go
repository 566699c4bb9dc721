package mvcc

// maxDepth is the maximum depth of a tree: slots have 32 bits, and every inner node except
// those at the tree's end has at least nodeMin children.
const maxDepth = 12

// cursor walks over the slots of a tree that is not changed meanwhile.
type cursor struct {
	path  [maxDepth]place // from the root; the last place is of the present slot
	depth int             // number of places, 0 at either end
}

// place is an item in a node. The subtree left of it precedes the item.
type place struct {
	node *node
	item int
}

// seek moves the cursor to the first key that is not before key.
func (c *cursor) seek(t *tree, key string) {
	if !c.descend(t, key, false) {
		c.descend(t, key, true)
	}
	c.settle()
}

// descend finds the path to key or, if key is not in the tree, to its place. It returns false
// if heads led it to a wrong place.
func (c *cursor) descend(t *tree, key string, careful bool) bool {
	c.depth = 0
	var around bounds
	for n := t.root; n != nil; {
		i := t.search(n, key, careful)
		around.narrow(n, i)
		c.push(n, i)
		if n.leaf {
			return careful || t.within(around, key)
		}
		n = n.child(i)
	}
	return true
}

// seekBefore moves the cursor to the last key that is before key; "" is behind all keys.
func (c *cursor) seekBefore(t *tree, key string) {
	if key != "" {
		if c.seek(t, key); c.valid() {
			c.previous()
			return
		}
	}
	c.depth = 0
	if t.root != nil {
		c.descendLast(t.root)
	}
}

// descendLast adds the path from n to the last item below it.
func (c *cursor) descendLast(n *node) {
	for ; !n.leaf; n = n.child(int(n.length)) {
		c.push(n, int(n.length))
	}
	c.push(n, int(n.length)-1)
}

func (c *cursor) push(n *node, item int) {
	c.path[c.depth] = place{n, item}
	c.depth++
}

// valid reports whether the cursor is at a key.
func (c *cursor) valid() bool { return c.depth > 0 }

// slot returns the slot of the present key.
func (c *cursor) slot() uint32 {
	at := &c.path[c.depth-1]
	return at.node.items[at.item]
}

// next moves the cursor to the next key.
func (c *cursor) next() {
	at := &c.path[c.depth-1]
	at.item++
	if !at.node.leaf {
		n := at.node.child(at.item)
		for ; !n.leaf; n = n.child(0) {
			c.push(n, 0)
		}
		c.push(n, 0)
	}
	c.settle()
}

// previous moves the cursor to the previous key.
func (c *cursor) previous() {
	at := &c.path[c.depth-1]
	if !at.node.leaf {
		c.descendLast(at.node.child(at.item))
		return
	}
	for ; c.depth > 0; c.depth-- {
		if at = &c.path[c.depth-1]; at.item > 0 {
			at.item--
			return
		}
	}
}

// settle moves the cursor up from a node that has no further item.
func (c *cursor) settle() {
	for c.depth > 0 {
		if at := &c.path[c.depth-1]; at.item < int(at.node.length) {
			return
		}
		c.depth--
	}
}
