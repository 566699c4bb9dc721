package crashfs

import (
	"maps"
	"slices"
)

// sectorSize is the number of bytes that a disk writes at once.
const sectorSize = 512

// sector is the content of one sector. It is never changed once it is in an
// image, so that images can share it.
type sector [sectorSize]byte

// image is the content of a file. Missing sectors are zero, and so is the part of a
// sector behind size.
type image struct {
	size    int64
	sectors map[int64]*sector
}

func (m image) clone() image {
	return image{size: m.size, sectors: maps.Clone(m.sectors)}
}

func (m image) flip(off int64, bit uint) {
	var s sector
	if old := m.sectors[off/sectorSize]; old != nil {
		s = *old
	}
	s[off%sectorSize] ^= 1 << (bit % 8)
	m.set(off/sectorSize, &s)
}

// set replaces sector i; nil is zeros.
func (m image) set(i int64, s *sector) {
	if s == nil || *s == (sector{}) {
		delete(m.sectors, i)
		return
	}
	m.sectors[i] = s
}

// resize changes the size, and clears the bytes behind it.
func (m *image) resize(size int64) {
	if size < m.size {
		for i, s := range m.sectors {
			switch start := i * sectorSize; {
			case start >= size:
				delete(m.sectors, i)
			case start+sectorSize > size:
				cut := *s
				clear(cut[size-start:])
				m.set(i, &cut)
			}
		}
	}
	m.size = size
}

// node is a file or a directory.
type node struct {
	isDir bool

	volatile image              // the content that programs see
	durable  image              // the content that a power failure leaves
	dirty    map[int64]struct{} // numbers of the sectors that the next Sync makes durable

	volatileEntries map[string]*node
	durableEntries  map[string]*node
}

func newFile() *node {
	return &node{
		volatile: image{sectors: map[int64]*sector{}},
		durable:  image{sectors: map[int64]*sector{}},
		dirty:    map[int64]struct{}{},
	}
}

func newDir() *node {
	return &node{isDir: true, volatileEntries: map[string]*node{}, durableEntries: map[string]*node{}}
}

func cloneEntries(m map[string]*node) map[string]*node { return maps.Clone(m) }

func (n *node) readAt(b []byte, off int64) int {
	if off >= n.volatile.size {
		return 0
	}
	b = b[:min(int64(len(b)), n.volatile.size-off)]
	for done := 0; done < len(b); {
		at := off + int64(done)
		in := int(at % sectorSize)
		part := b[done:min(len(b), done+sectorSize-in)]
		if s := n.volatile.sectors[at/sectorSize]; s != nil {
			copy(part, s[in:])
		} else {
			clear(part)
		}
		done += len(part)
	}
	return len(b)
}

func (n *node) writeAt(b []byte, off int64) {
	n.volatile.size = max(n.volatile.size, off+int64(len(b)))
	for len(b) > 0 {
		i, in := off/sectorSize, int(off%sectorSize)
		part := b[:min(len(b), sectorSize-in)]
		n.writeSector(i, in, part)
		off += int64(len(part))
		b = b[len(part):]
	}
}

func (n *node) writeSector(i int64, in int, part []byte) {
	var old sector
	if s := n.volatile.sectors[i]; s != nil {
		old = *s
	}
	changed := old
	copy(changed[in:], part)
	if changed != old {
		n.volatile.set(i, &changed)
	}
	// A failed sync has made the sector clean: it becomes dirty when the same bytes
	// are written again.
	if !sameSector(n.volatile.sectors[i], n.durable.sectors[i]) {
		n.dirty[i] = struct{}{}
	}
}

// sameSector compares two sectors; nil is zeros.
func sameSector(a, b *sector) bool {
	if a == nil || b == nil {
		return a == b
	}
	return *a == *b
}

func (n *node) truncate(size int64) {
	for i := range n.volatile.sectors {
		if (i+1)*sectorSize > size {
			n.dirty[i] = struct{}{}
		}
	}
	n.volatile.resize(size)
}

// sync makes the file's content durable.
func (n *node) sync() {
	for i := range n.dirty {
		n.durable.set(i, n.volatile.sectors[i])
	}
	n.durable.resize(n.volatile.size)
	clear(n.dirty)
}

// sortedDirty returns the numbers of the sectors changed since the last sync.
func (n *node) sortedDirty() []int64 {
	return slices.Sorted(maps.Keys(n.dirty))
}
