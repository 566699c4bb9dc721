package mvcc

// nodeFill is the number of keys of a node in a tree that is built of many keys at once. It
// leaves room, so that later keys don't split every node.
const nodeFill = 100

// build makes an empty tree one of the slots 1 to n, whose keys are in this order.
func (t *tree) build(n int) {
	if n == 0 {
		return
	}
	height, room := 0, nodeFill // room of a tree of that height with nodeFill keys in each node
	for room < n {
		height, room = height+1, roomAbove(room)
	}
	t.root = t.buildNode(1, n, height, room)
}

// roomAbove returns the number of keys that a tree has room for if each of its subtrees has
// room for room.
func roomAbove(room int) int { return nodeFill + (nodeFill+1)*room }

// buildNode returns the root of a tree of n slots from first on. The height is that of the
// root above the leaves, and room the number of keys that such a tree has room for.
//
// Invariant: a tree has more than half the keys that it has room for, or no lower tree has
// room for them; so every node except the root has at least nodeMin.
func (t *tree) buildNode(first uint32, n, height, room int) *node {
	if height == 0 {
		leaf := t.newLeaf()
		for i := range n {
			leaf.items[i] = first + uint32(i)
		}
		leaf.length = uint16(n)
		t.setHeads(leaf)
		return leaf
	}
	in := t.newInner()
	below := (room - nodeFill) / (nodeFill + 1)
	children := (n + below + 1) / (below + 1) // rounded up, as a key lies between two
	for left := children; left > 0; left-- {
		size := (n - (left - 1)) / left
		in.inner().children[in.length] = t.buildNode(first, size, height-1, below)
		first, n = first+uint32(size), n-size
		if left > 1 {
			in.items[in.length] = first
			in.length++
			first, n = first+1, n-1
		}
	}
	t.setHeads(in)
	return in
}
