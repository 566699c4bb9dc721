package omap

import (
	"math/bits"
	"math/rand/v2"
	"sync/atomic"
)

// Sizes of a table's parts. A part of maxGroups is 32 KiB, which the runtime
// allocates without a header of its own, so that groups stay on cache lines.
const (
	groupSlots = 7   // number of slots of a group
	maxGroups  = 512 // maximum number of groups of a part
)

// A hash is used from both ends: its low bits choose the shard, the bits above
// those the tag in a group and the group in a part, and its high bits the part.
const (
	tagShift   = 12 // number of bits for MaxShards shards
	groupShift = tagShift + 7
)

// Values of a slot in a group's control word: empty, deleted, or a tag.
const (
	slotEmpty   = 0x00
	slotDeleted = 0x01
	slotTaken   = 0x80 // with seven bits of the hash
)

const (
	everyByte = 0x0001_0101_0101_0101 // the lowest bit of each slot's byte
	everyHigh = 0x0080_8080_8080_8080 // the highest
)

// group is a cache line of slots. The control word has a byte for each slot. So most slots
// that don't have a key are recognized without reading their records.
type group struct {
	control atomic.Uint64
	slots   [groupSlots]atomic.Pointer[byte] // of records
}

// match returns a word in which the highest bit of a byte is set if the byte of control may
// be tag. A bit may be set although the byte differs.
func match(control uint64, tag byte) uint64 {
	x := control ^ everyByte*uint64(tag)
	return (x - everyByte) &^ x & everyHigh
}

// taken returns a word in which the highest bit of a byte is set if its slot holds a record.
func taken(control uint64) uint64 { return control & everyHigh }

// part is a hash table of groups with open addressing: a record is in the group that its
// hash names, or in the next one that had room.
type part struct {
	groups []group
	depth  uint // number of bits of the hash that all its records have in common

	// Both belong to the writer.
	count int // number of records
	used  int // number of slots that are not empty
}

// table is an extendible hash table from keys to records (Fagin et al., 1979). One goroutine
// at a time may change it. Any number may read it at the same time without locks, and see
// each change as a whole or not at all. A full part is split in two, so growth stops the
// writer for the time of one part, for any number of records in the table.
//
// A reader may use a part that was split or grown after the reader began. This part is not
// changed any more. So the reader sees a state that was current while it read.
type table struct {
	directory atomic.Pointer[[]atomic.Pointer[part]] // its length is a power of two; indexed by the hash's high bits
	count     int                                    // number of records; belongs to the writer
}

// init makes t empty, with room for n records.
func (t *table) init(n int) {
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
		directory[i].Store(&part{groups: make([]group, groups), depth: uint(bits.Len(uint(parts)) - 1)})
	}
	t.directory.Store(&directory)
	t.count = 0
}

// partAt returns the place in the directory of the part for hash.
func partAt(directory []atomic.Pointer[part], hash uint64) *atomic.Pointer[part] {
	return &directory[hash>>1>>(uint(bits.LeadingZeros64(uint64(len(directory))))&63)]
}

// get returns key's record, the zero record if there is none.
func (t *table) get(hash uint64, key string) Record {
	p := partAt(*t.directory.Load(), hash).Load()
	tag, last := tagOf(hash), uint64(len(p.groups)-1)
	for i := hash >> groupShift; ; i++ {
		g := &p.groups[i&last]
		control := g.control.Load()
		for m := match(control, tag); m != 0; m &= m - 1 {
			r := Record{g.slots[bits.TrailingZeros64(m)/8].Load()}
			if r.first != nil && r.hasKey(key) {
				return r
			}
		}
		if match(control, slotEmpty) != 0 { // the lowest bit that match sets is never wrong
			return Record{}
		}
	}
}

func tagOf(hash uint64) byte { return slotTaken | byte(hash>>tagShift) }

// set adds r, or replaces the record with the same key and returns that one.
func (t *table) set(hash uint64, r Record) (old Record) {
	for {
		p := partAt(*t.directory.Load(), hash).Load()
		if g, slot := p.find(hash, r.Key()); g != nil {
			old = Record{g.slots[slot].Load()}
			g.slots[slot].Store(r.first)
			return old
		}
		if (p.used+1)*groupSlots <= len(p.groups)*groupSlots*(groupSlots-1) {
			p.insert(hash, r)
			t.count++
			return Record{}
		}
		t.grow(p, hash)
	}
}

// delete removes key's record and returns it.
func (t *table) delete(hash uint64, key string) (old Record) {
	p := partAt(*t.directory.Load(), hash).Load()
	g, slot := p.find(hash, key)
	if g == nil {
		return Record{}
	}
	old = Record{g.slots[slot].Load()}
	state := uint64(slotDeleted)
	if match(g.control.Load(), slotEmpty) != 0 { // every search ends in this group
		state = slotEmpty
		p.used--
	}
	g.setControl(slot, state)
	g.slots[slot].Store(nil)
	p.count--
	t.count--
	return old
}

// find returns the group and the slot of key, a nil group if the part does not have it.
func (p *part) find(hash uint64, key string) (*group, int) {
	tag, last := tagOf(hash), uint64(len(p.groups)-1)
	for i := hash >> groupShift; ; i++ {
		g := &p.groups[i&last]
		control := g.control.Load()
		for m := match(control, tag); m != 0; m &= m - 1 {
			slot := bits.TrailingZeros64(m) / 8
			if r := (Record{g.slots[slot].Load()}); r.first != nil && r.hasKey(key) {
				return g, slot
			}
		}
		if match(control, slotEmpty) != 0 {
			return nil, 0
		}
	}
}

// insert puts a record with a new key into the first free slot. The caller has made sure that
// an empty slot remains in the part.
func (p *part) insert(hash uint64, r Record) {
	for i := hash >> groupShift; ; i++ {
		g := &p.groups[i&uint64(len(p.groups)-1)]
		free := ^g.control.Load() & everyHigh
		if free == 0 {
			continue
		}
		slot := bits.TrailingZeros64(free) / 8
		if byte(g.control.Load()>>(8*slot)) == slotEmpty {
			p.used++
		}
		g.slots[slot].Store(r.first) // before the tag, by which readers find it
		g.setControl(slot, uint64(tagOf(hash)))
		p.count++
		return
	}
}

// setControl changes the byte of one slot. There is one writer.
func (g *group) setControl(slot int, state uint64) {
	g.control.Store(g.control.Load()&^(0xff<<(8*slot)) | state<<(8*slot))
}

// grow makes room in the part for hash: by clearing deleted slots, by doubling
// its groups, or by splitting it.
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
	t.replace(p, hash, &part{groups: make([]group, groups), depth: p.depth})
}

// split puts the records of p into two parts, by the next bit of their hashes.
func (t *table) split(p *part, hash uint64) {
	if directory := *t.directory.Load(); 1<<p.depth == len(directory) {
		double := make([]atomic.Pointer[part], 2*len(directory))
		for i := range double {
			double[i].Store(directory[i/2].Load())
		}
		t.directory.Store(&double)
	}
	t.replace(p, hash,
		&part{groups: make([]group, maxGroups), depth: p.depth + 1},
		&part{groups: make([]group, maxGroups), depth: p.depth + 1})
}

// replace copies the records of p, the part for hash, into one or two new parts, which get
// its places in the directory. p is not changed, for readers that still use it.
func (t *table) replace(p *part, hash uint64, by ...*part) {
	for i := range p.groups {
		g := &p.groups[i]
		for m := taken(g.control.Load()); m != 0; m &= m - 1 {
			r := Record{g.slots[bits.TrailingZeros64(m)/8].Load()}
			h := hashOf(r.Key())
			by[h<<p.depth>>63&uint64(len(by)-1)].insert(h, r)
		}
	}
	directory := *t.directory.Load()
	span := len(directory) >> p.depth // places of p
	first := int(hash>>1>>(63-p.depth)) * span
	for i := range span {
		directory[first+i].Store(by[i*len(by)/span])
	}
}

// random returns a random record, each about as likely as any other, or the zero record if it
// found none. The number of records in a part is about proportional to its share of the
// hashes. So a random hash chooses the part, in which random slots are tried until one holds
// a record.
func (t *table) random() Record {
	at := rand.Uint64()
	p := partAt(*t.directory.Load(), at).Load()
	for range 4 * groupSlots {
		slot := int(rand.Uint32N(uint32(len(p.groups) * groupSlots)))
		if r := p.groups[slot/groupSlots].slots[slot%groupSlots].Load(); r != nil {
			return Record{r}
		}
	}
	return Record{}
}

// all calls visit for every record until it returns false. Only the writer may call it.
func (t *table) all(visit func(Record) bool) {
	var previous *part
	for i := range *t.directory.Load() {
		p := (*t.directory.Load())[i].Load()
		if p == previous { // a part's places are neighbours
			continue
		}
		previous = p
		for i := range p.groups {
			for m := taken(p.groups[i].control.Load()); m != 0; m &= m - 1 {
				r := Record{p.groups[i].slots[bits.TrailingZeros64(m)/8].Load()}
				if r.first != nil && !visit(r) {
					return
				}
			}
		}
	}
}
