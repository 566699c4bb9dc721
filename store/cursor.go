package store

// cursor walks over the records of an index that nobody writes to meanwhile.
type cursor struct {
	path []place // from the root; the last place is of the record that the cursor stands at
	key  string  // of that record
}

// place is a record in a node. What lies below the node's child before it has been walked over.
type place struct {
	node *node
	item int
}

// seek returns a cursor that stands at the first record at or after r, in x's
// order, and whether there is one.
func (x *index) seek(r record) (*cursor, bool) {
	c := &cursor{}
	for n := x.root; n != nil; {
		i, found := x.search(n, r, true)
		c.path = append(c.path, place{n, i})
		if found || n.children == nil {
			break
		}
		n = n.children[i]
	}
	return c, c.settle()
}

// record returns the record that the cursor stands at.
func (c *cursor) record() record {
	at := c.path[len(c.path)-1]
	return at.node.items[at.item]
}

// next moves on by one record. It returns false at the end.
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

// settle goes up from where a node has nothing more.
func (c *cursor) settle() bool {
	for n := len(c.path); n > 0; n-- {
		if at := c.path[n-1]; at.item < at.node.length {
			c.path = c.path[:n]
			c.key = c.record().key()
			return true
		}
	}
	return false
}
