package crashfs

import (
	"maps"
	"math/rand/v2"
)

// CrashOptions select the unsynced changes that survive a power failure. The zero
// value loses all of them.
type CrashOptions struct {
	// Keep is the probability, from 0 to 1, with which each changed sector, file
	// size and directory entry survives.
	Keep float64
	// Rand decides for each of them. It is needed only where Keep is neither 0 nor 1.
	// The same source on the same state gives the same result.
	Rand *rand.Rand
}

// survives decides whether one unsynced change survives.
func (o CrashOptions) survives() bool {
	switch {
	case o.Keep <= 0:
		return false
	case o.Keep >= 1:
		return true
	}
	return o.Rand.Float64() < o.Keep
}

// Crash returns the filesystem as a power failure leaves it, without hook,
// capacity or open files. Everything in it is durable. The original is not changed.
func (f *FS) Crash(o CrashOptions) *FS {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := &crash{options: o, done: map[*node]*node{}}
	return &FS{root: c.node(f.root)}
}

// Clone returns the filesystem as another process sees it, without hook or open
// files. It has all changes; unsynced ones are still not durable.
func (f *FS) Clone() *FS {
	f.mu.Lock()
	defer f.mu.Unlock()
	return &FS{root: cloneNode(f.root, map[*node]*node{}), capacity: f.capacity}
}

// crash copies a tree. A node with two names, as during a rename, is copied once.
type crash struct {
	options CrashOptions
	done    map[*node]*node
}

func (c *crash) node(n *node) *node {
	if left := c.done[n]; left != nil {
		return left
	}
	left := newFile()
	if n.isDir {
		left = newDir()
	}
	c.done[n] = left
	if n.isDir {
		c.entries(n, left)
	} else {
		left.durable = c.content(n)
		left.volatile = left.durable.clone()
	}
	return left
}

func (c *crash) entries(n, left *node) {
	names := maps.Clone(n.durableEntries)
	maps.Copy(names, n.volatileEntries)
	for _, name := range sortedKeys(names) {
		child, changed := n.durableEntries[name], n.volatileEntries[name]
		if child != changed && c.options.survives() {
			child = changed
		}
		if child != nil {
			left.durableEntries[name] = c.node(child)
		}
	}
	left.volatileEntries = cloneEntries(left.durableEntries)
}

func (c *crash) content(n *node) image {
	m := n.durable.clone()
	size := m.size
	if n.volatile.size != size && c.options.survives() {
		size = n.volatile.size
	}
	for _, i := range n.sortedDirty() {
		if c.options.survives() {
			m.set(i, n.volatile.sectors[i])
		}
	}
	// A sector that survived behind the surviving size is lost with the rest.
	m.size = max(m.size, n.volatile.size)
	m.resize(size)
	return m
}

func cloneNode(n *node, done map[*node]*node) *node {
	if n == nil || done[n] != nil {
		return done[n]
	}
	c := &node{isDir: n.isDir}
	done[n] = c
	if n.isDir {
		c.volatileEntries = cloneDir(n.volatileEntries, done)
		c.durableEntries = cloneDir(n.durableEntries, done)
		return c
	}
	c.volatile, c.durable, c.dirty = n.volatile.clone(), n.durable.clone(), maps.Clone(n.dirty)
	return c
}

func cloneDir(entries map[string]*node, done map[*node]*node) map[string]*node {
	c := make(map[string]*node, len(entries))
	for name, n := range entries {
		c[name] = cloneNode(n, done)
	}
	return c
}
