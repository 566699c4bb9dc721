package omap

// cursor walks over the records of an index that is not changed meanwhile.
type cursor struct {
	path []place // from the root; the last place is of the present record
	key  string  // of that record
}

// place is a record in a node. The subtree left of it has been visited.
type place struct {
	node *node
	item int
}

// seek returns a cursor at the first record that is equal to r or follows it, in x's
// order, and whether there is one.
func (x *index) seek(r Record) (*cursor, bool) {
	c := &cursor{path: make([]place, 0, 4)}
	if !c.descend(x, r, x.order.exact) {
		c.descend(x, r, true)
	}
	return c, c.settle()
}

// descend finds the path to r or, if r is not in the index, to its place. It returns false if
// heads led it to a wrong place.
func (c *cursor) descend(x *index, r Record, careful bool) bool {
	c.path = c.path[:0]
	first, last := true, true // n is the first of its level, the last
	for n := x.root; n != nil; {
		i, found := x.search(n, r, careful)
		c.path = append(c.path, place{n, i})
		if found {
			return true
		}
		if n.children == nil {
			return careful || x.between(n, i, r, first, last)
		}
		first, last = first && i == 0, last && i == n.length
		n = n.children[i]
	}
	return true
}

// current returns the present record.
func (c *cursor) current() Record {
	at := c.path[len(c.path)-1]
	return at.node.items[at.item]
}

// next moves the cursor by one record. It returns false at the end.
func (c *cursor) next() bool {
	at := &c.path[len(c.path)-1]
	at.item++
	if at.node.children != nil {
		for n := at.node.children[at.item]; ; n = n.children[0] {
			c.path = append(c.path, place{node: n})
			if n.children == nil {
				break
			}
		}
	}
	return c.settle()
}

// settle moves the cursor up from a node that has no further record.
func (c *cursor) settle() bool {
	for n := len(c.path); n > 0; n-- {
		if at := c.path[n-1]; at.item < at.node.length {
			c.path = c.path[:n]
			c.key = c.current().Key()
			return true
		}
	}
	return false
}
