package watch

import (
	"iter"
	"math/rand/v2"
	"slices"
	"sync/atomic"

	"github.com/kvorum/kvorum/kv"
)

// maxLengths is the maximum number of different lengths of prefixes that are found by a map.
// A search looks for a prefix of each length.
const maxLengths = 8

// index finds the groups whose span contains a key. Its fields are guarded by Hub.mu, but
// len may be read without it.
type index struct {
	len  atomic.Int64      // number of groups
	keys map[string]*group // of spans of one key
	// prefixes has the groups of spans that are prefixes, if their length is one of lengths.
	prefixes map[string]*group
	lengths  []length // at most maxLengths
	// spans has the other groups. It is a treap: a search tree in order of the spans, and a
	// heap of random priorities, which keep it balanced. Each node has the greatest end below
	// it. So a search visits only subtrees in which a span ends after the key, and none in
	// which all begin after it.
	spans *node
}

// length is a length of prefixes.
type length struct{ bytes, groups int }

type node struct {
	group       *group
	priority    uint32
	last        kv.Span // one with the greatest end of the subtree's spans
	left, right *node
}

func (x *index) init() {
	x.keys, x.prefixes = make(map[string]*group), make(map[string]*group)
}

// group returns the group of a span. A new one has notes of all changes after a revision.
func (x *index) group(span kv.Span, unnoted uint64) *group {
	g := x.find(span)
	if g != nil {
		return g
	}
	g = &group{span: span, unnoted: unnoted}
	x.len.Add(1)
	if key, one := span.Key(); one {
		x.keys[key] = g
	} else if isPrefix(span) && x.countLength(len(span.Start), 1) {
		x.prefixes[span.Start] = g
	} else {
		x.spans = x.spans.insert(&node{group: g, priority: rand.Uint32(), last: span})
	}
	return g
}

// isPrefix reports whether a span has the keys with a prefix, which is not empty.
func isPrefix(span kv.Span) bool { return span.Start != "" && kv.Prefix(span.Start) == span }

// countLength adds to the number of groups of prefixes of a length. It returns false if there
// is no room for that length.
func (x *index) countLength(bytes, groups int) bool {
	i := slices.IndexFunc(x.lengths, func(l length) bool { return l.bytes == bytes })
	switch {
	case i >= 0:
		if x.lengths[i].groups += groups; x.lengths[i].groups == 0 {
			x.lengths = slices.Delete(x.lengths, i, i+1)
		}
		return true
	case len(x.lengths) < maxLengths:
		x.lengths = append(x.lengths, length{bytes, groups})
		return true
	}
	return false
}

// find returns the group of a span, nil if there is none.
func (x *index) find(span kv.Span) *group {
	if key, one := span.Key(); one {
		return x.keys[key]
	}
	if g := x.prefixes[span.Start]; g != nil && g.span == span {
		return g
	}
	for n := x.spans; n != nil; {
		switch {
		case n.group.span == span:
			return n.group
		case before(span, n.group.span):
			n = n.left
		default:
			n = n.right
		}
	}
	return nil
}

// remove removes a group that is in the index.
func (x *index) remove(g *group) {
	x.len.Add(-1)
	if key, one := g.span.Key(); one {
		delete(x.keys, key)
	} else if x.prefixes[g.span.Start] == g {
		delete(x.prefixes, g.span.Start)
		x.countLength(len(g.span.Start), -1)
	} else {
		x.spans = x.spans.remove(g.span)
	}
}

// match calls found with each group whose span contains key.
func (x *index) match(key string, found func(*group)) {
	if g := x.keys[key]; g != nil {
		found(g)
	}
	for _, l := range x.lengths {
		if l.bytes > len(key) {
			continue
		}
		if g := x.prefixes[key[:l.bytes]]; g != nil {
			found(g)
		}
	}
	x.spans.match(key, found)
}

// all yields all groups.
func (x *index) all() iter.Seq[*group] {
	return func(yield func(*group) bool) {
		for _, groups := range []map[string]*group{x.keys, x.prefixes} {
			for _, g := range groups {
				if !yield(g) {
					return
				}
			}
		}
		x.spans.walk(yield)
	}
}

// before reports whether a span comes before another one in the tree.
func before(a, b kv.Span) bool {
	if a.Start != b.Start {
		return a.Start < b.Start
	}
	return endsBefore(a, b)
}

// endsBefore reports whether a span ends before another one.
func endsBefore(a, b kv.Span) bool { return a.End != "" && (b.End == "" || a.End < b.End) }

// match calls found with each group of the subtree whose span contains key.
func (n *node) match(key string, found func(*group)) {
	for n != nil && (n.last.End == "" || key < n.last.End) {
		if key < n.group.span.Start {
			n = n.left
			continue
		}
		n.left.match(key, found)
		if n.group.span.End == "" || key < n.group.span.End {
			found(n.group)
		}
		n = n.right
	}
}

// walk yields all groups of the subtree. It returns false at the end of the iteration.
func (n *node) walk(yield func(*group) bool) bool {
	return n == nil || n.left.walk(yield) && yield(n.group) && n.right.walk(yield)
}

// insert adds a node to a subtree, and returns the subtree's root.
func (n *node) insert(added *node) *node {
	switch {
	case n == nil:
		return added
	case added.priority > n.priority:
		added.left, added.right = n.split(added.group.span)
		return added.update()
	case before(added.group.span, n.group.span):
		n.left = n.left.insert(added)
	default:
		n.right = n.right.insert(added)
	}
	return n.update()
}

// split returns the parts of a subtree before and after a span that is not in it.
func (n *node) split(span kv.Span) (left, right *node) {
	if n == nil {
		return nil, nil
	}
	if before(span, n.group.span) {
		left, n.left = n.left.split(span)
		return left, n.update()
	}
	n.right, right = n.right.split(span)
	return n.update(), right
}

// remove removes the node of a span from a subtree that has it, and returns the subtree's
// root.
func (n *node) remove(span kv.Span) *node {
	switch {
	case n.group.span == span:
		return join(n.left, n.right)
	case before(span, n.group.span):
		n.left = n.left.remove(span)
	default:
		n.right = n.right.remove(span)
	}
	return n.update()
}

// join returns a tree of two, all nodes of which are in order.
func join(left, right *node) *node {
	switch {
	case left == nil:
		return right
	case right == nil:
		return left
	case left.priority > right.priority:
		left.right = join(left.right, right)
		return left.update()
	}
	right.left = join(left, right.left)
	return right.update()
}

// update computes last from the children, and returns n.
func (n *node) update() *node {
	n.last = n.group.span
	for _, child := range [...]*node{n.left, n.right} {
		if child != nil && endsBefore(n.last, child.last) {
			n.last = child.last
		}
	}
	return n
}
