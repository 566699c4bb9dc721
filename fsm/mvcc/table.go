package mvcc

import (
	"hash/maphash"
	"math/bits"
	"sync/atomic"
)

// Sizes of a table's parts. A part of maxGroups is 32 KiB, which the runtime allocates
// without a header of its own, so that groups stay on cache lines.
const (
	groupWords = 2  // number of control words of a group
	wordSlots  = 6  // number of slots that a control word has the tags of
	groupSlots = 12 // number of slots of a group
	maxGroups  = 512
)

// groupShift is the number of low bits of a hash that make the tag of a key in a group. The
// bits above choose the group in a part, and the high bits the part.
const groupShift = 7

// Values of a slot in a group's control word: empty, deleted, or a tag.
const (
	slotEmpty   = 0x00
	slotDeleted = 0x01
	slotTaken   = 0x80 // with seven bits of the hash
)

const (
	everyByte = 0x0000_0101_0101_0101 // the lowest bit of each slot's byte
	everyHigh = 0x0000_8080_8080_8080 // the highest
)

// seed makes the places of keys unpredictable, so that an attacker can't choose keys with
// the same place.
var seed = maphash.MakeSeed()

// hashOf returns the hash of a key that determines its place in a table.
func hashOf(key string) uint64 { return maphash.String(seed, key) }

// tagOf returns the value of a taken slot's control byte.
func tagOf(hash uint64) byte { return slotTaken | byte(hash) }

// group is a cache line. Each byte of a control word is the state of one slot. So most slots
// that don't have a key are recognized without reading records.
type group struct {
	control [groupWords]atomic.Uint64
	numbers [groupSlots]atomic.Uint32 // of the keys' slots in keys
}

// match returns a word in which the highest bit of a byte is set if the byte of control may
// be tag. A bit may be set although the byte differs, but never the lowest that is set.
func match(control uint64, tag byte) uint64 {
	x := control ^ everyByte*uint64(tag)
	return (x - everyByte) &^ x & everyHigh
}

// slotAt returns the number of the slot whose bit match has set lowest.
func slotAt(word int, m uint64) int { return word*wordSlots + bits.TrailingZeros64(m)/8 }

// hasEmpty reports whether the group has an empty slot. A search ends in such a group.
func (g *group) hasEmpty() bool {
	return match(g.control[0].Load(), slotEmpty)|match(g.control[1].Load(), slotEmpty) != 0
}

// state returns the control byte of a slot.
func (g *group) state(slot int) byte {
	return byte(g.control[slot/wordSlots].Load() >> (8 * (slot % wordSlots)))
}

// setState changes the control byte of a slot. There is one writer.
func (g *group) setState(slot int, state byte) {
	at, shift := &g.control[slot/wordSlots], 8*(slot%wordSlots)
	at.Store(at.Load()&^(0xff<<shift) | uint64(state)<<shift)
}

// part is a hash table of groups with open addressing: a key is in the group that its hash
// names, or in the next one that had room.
type part struct {
	groups []group
	depth  uint // number of bits of the hash that all its keys have in common

	// Both belong to the writer.
	count int // number of keys
	used  int // number of slots that are not empty
}

func newPart(groups int, depth uint) *part {
	return &part{groups: make([]group, groups), depth: depth}
}

// table is an extendible hash table from keys to their slots (Fagin et al., 1979). One
// goroutine at a time may change it. Any number may read it meanwhile without locks, and
// see each change as a whole or not at all. A full part is split in two, so growth stops
// the writer for the time of one part, for any number of keys in the table.
//
// A reader may use a part that was split or grown after the reader began. This part is not
// changed any more. So the reader sees a state that was current while it read.
type table struct {
	keys *keys
	// directory has a power of two places. The high bits of a hash name its place.
	directory atomic.Pointer[[]atomic.Pointer[part]]

	bytes int64 // of all parts; belongs to the writer
}

// init makes t empty, with room for n keys.
func (t *table) init(k *keys, n int) {
	t.keys = k
	parts, groups := 1, 1
	for parts*groups*groupSlots*3/5 < n {
		if groups < maxGroups {
			groups *= 2
		} else {
			parts *= 2
		}
	}
	directory := make([]atomic.Pointer[part], parts)
	for i := range directory {
		directory[i].Store(newPart(groups, uint(bits.Len(uint(parts))-1)))
	}
	t.directory.Store(&directory)
	t.bytes = int64(parts*groups) * groupBytes
}

const groupBytes = 64

// partAt returns the place in the directory of the part for hash.
func partAt(directory []atomic.Pointer[part], hash uint64) *atomic.Pointer[part] {
	return &directory[hash>>1>>(uint(bits.LeadingZeros64(uint64(len(directory))))&63)]
}

// get returns key's slot and the newest version in it with its ref, 0 and the zero record if
// there is none.
func (t *table) get(hash uint64, key string) (slot uint32, newest record, r ref) {
	p := partAt(*t.directory.Load(), hash).Load()
	tag, last := tagOf(hash), uint64(len(p.groups)-1)
	for i := hash >> groupShift; ; i++ {
		g := &p.groups[i&last]
		empty := uint64(0)
		for w := range groupWords {
			control := g.control[w].Load()
			for m := match(control, tag); m != 0; m &= m - 1 {
				slot = g.numbers[slotAt(w, m)].Load()
				if newest, r = t.keys.newest(slot); !newest.isZero() && newest.hasKey(key) {
					return slot, newest, r
				}
			}
			empty |= match(control, slotEmpty)
		}
		if empty != 0 {
			return 0, record{}, 0
		}
	}
}

// insert adds a key that the table does not have.
func (t *table) insert(hash uint64, slot uint32) {
	for {
		p := partAt(*t.directory.Load(), hash).Load()
		if p.hasRoom() {
			p.insert(hash, slot)
			return
		}
		t.grow(p, hash)
	}
}

// delete removes the key with this hash and slot, which the table has.
func (t *table) delete(hash uint64, slot uint32) {
	p := partAt(*t.directory.Load(), hash).Load()
	g, i := p.find(hash, slot)
	state := byte(slotDeleted)
	if g.hasEmpty() { // every search ends in this group
		state = slotEmpty
		p.used--
	}
	g.setState(i, state)
	g.numbers[i].Store(0)
	p.count--
}

// find returns the group of a key that the part has, and the key's place in it.
func (p *part) find(hash uint64, slot uint32) (*group, int) {
	for i := hash >> groupShift; ; i++ {
		g := &p.groups[i&uint64(len(p.groups)-1)]
		for w := range groupWords {
			for m := match(g.control[w].Load(), tagOf(hash)); m != 0; m &= m - 1 {
				if i := slotAt(w, m); g.numbers[i].Load() == slot {
					return g, i
				}
			}
		}
	}
}

// hasRoom reports whether an empty slot remains in the part after another key is inserted,
// and searches stay short.
func (p *part) hasRoom() bool { return (p.used+1)*8 <= len(p.groups)*groupSlots*7 }

// insert puts a key into the first free slot.
func (p *part) insert(hash uint64, slot uint32) {
	for i := hash >> groupShift; ; i++ {
		g := &p.groups[i&uint64(len(p.groups)-1)]
		for w := range groupWords {
			free := ^g.control[w].Load() & everyHigh
			if free == 0 {
				continue
			}
			at := slotAt(w, free)
			if g.state(at) == slotEmpty {
				p.used++
			}
			g.numbers[at].Store(slot) // before the tag, by which readers find it
			g.setState(at, tagOf(hash))
			p.count++
			return
		}
	}
}

// grow makes room in the part for hash: by clearing deleted slots, by doubling its groups,
// or by splitting it.
func (t *table) grow(p *part, hash uint64) {
	groups := len(p.groups)
	switch {
	case p.count < groups*groupSlots/2: // most used slots are deleted ones
	case groups < maxGroups:
		groups *= 2
	default:
		t.split(p, hash)
		return
	}
	t.replace(p, hash, newPart(groups, p.depth))
}

// split puts the keys of p into two parts, by the next bit of their hashes.
func (t *table) split(p *part, hash uint64) {
	if directory := *t.directory.Load(); 1<<p.depth == len(directory) {
		double := make([]atomic.Pointer[part], 2*len(directory))
		for i := range double {
			double[i].Store(directory[i/2].Load())
		}
		t.directory.Store(&double)
	}
	t.replace(p, hash, newPart(maxGroups, p.depth+1), newPart(maxGroups, p.depth+1))
}

// replace copies the keys of p, the part for hash, into one or two new parts, which get its
// places in the directory. p is not changed, for readers that still use it.
func (t *table) replace(p *part, hash uint64, by ...*part) {
	for i := range p.groups {
		g := &p.groups[i]
		for w := range groupWords {
			for m := g.control[w].Load() & everyHigh; m != 0; m &= m - 1 {
				slot := g.numbers[slotAt(w, m)].Load()
				h := hashOf(t.keys.key(slot))
				by[h<<p.depth>>63&uint64(len(by)-1)].insert(h, slot)
			}
		}
	}
	directory := *t.directory.Load()
	span := len(directory) >> p.depth // places of p
	first := int(hash>>1>>(63-p.depth)) * span
	for i := range span {
		directory[first+i].Store(by[i*len(by)/span])
	}
	t.bytes += int64(len(by)*len(by[0].groups)-len(p.groups)) * groupBytes
}
