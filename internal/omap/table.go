package omap

import (
	"math/bits"
	"math/rand/v2"
	"sync/atomic"
)

// Sizes of a table's parts. A part of maxGroups is 32 KiB, which the runtime
// allocates without a header of its own, so that groups stay on cache lines.
const (
	groupSlots = 7   // slots of a group
	maxGroups  = 512 // groups of a part at most
)

// A hash is used from both ends: its low bits choose the shard, the bits above
// those the tag in a group and the group in a part, and its high bits the part.
const (
	tagShift   = 12 // as many bits as MaxShards needs
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

// group is a cache line of slots. The control word has a byte for each slot: it tells
// what may be in it without a look at the record.
type group struct {
	control atomic.Uint64
	slots   [groupSlots]atomic.Pointer[byte] // of records
}

// match returns a word whose highest bits of bytes are set where control may
// have tag; a false one is possible.
func match(control uint64, tag byte) uint64 {
	x := control ^ everyByte*uint64(tag)
	return (x - everyByte) &^ x & everyHigh
}

// taken returns a word as match does of all slots that hold a record.
func taken(control uint64) uint64 { return control & everyHigh }

// part is a hash table of groups with open addressing: a record lies in the
// first group with room from the one that its hash names.
type part struct {
	groups []group
	depth  uint // bits of the hash that all records in it have in common

	// Both belong to the writer.
	count int // records
	used  int // slots that are not empty
}

// table is an extendible hash table from keys to records (Fagin et al., 1979).
// One goroutine at a time may change it; any number read it at the same time
// without locks, and see each change as a whole or not at all. A full part is
// split in two, so that growth stops the writer for the time that one part
// takes, however many records the table holds.
//
// A reader may meet a part that was split or grown since it began. That part
// stays as it was at that moment, so that the reader sees a state that was current
// while it read.
type table struct {
	directory atomic.Pointer[[]atomic.Pointer[part]] // a power of two long, indexed by the hash's high bits
	count     int                                    // records; belongs to the writer
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
		if match(control, slotEmpty) != 0 { // exact for the first one, so for any
			return Record{}
		}
	}
}

func tagOf(hash uint64) byte { return slotTaken | byte(hash>>tagShift) }

// set puts r in the place of the record with the same key and returns that one.
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
	if match(g.control.Load(), slotEmpty) != 0 { // every search ends here
		state = slotEmpty
		p.used--
	}
	g.setControl(slot, state)
	g.slots[slot].Store(nil)
	p.count--
	t.count--
	return old
}

// find returns where the part has key, a nil group if nowhere.
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

// insert puts a record that is not there into the first free slot. The caller
// has made sure that an empty one remains in the part.
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
		g.slots[slot].Store(r.first) // before the tag that leads readers to it
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
	case p.count < groups*groupSlots/2: // most of what is used is deleted
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

// replace moves the records of the part for hash into one part, or two, and
// gives those its place in the directory. p stays as it is, for readers.
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

// random returns a record, each about as likely as any other, or the zero record
// if it met none. Parts hold about as many records as their share of the
// hashes, so a part is chosen by a hash, and in it slots are tried until one is taken.
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
	var before *part
	for i := range *t.directory.Load() {
		p := (*t.directory.Load())[i].Load()
		if p == before { // a part's places are neighbours
			continue
		}
		before = p
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
