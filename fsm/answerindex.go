package fsm

import "hash/maphash"

// answerIndex finds the number of the newest answer of a key. It is a hash table with linear
// probing: a request with a new key costs one look into memory that is in no cache, and an answer
// that is dropped another one. Those looks are most of what a key costs, so the slots of several
// keys are fetched together. The order in it depends on a random seed, so nothing but the index
// itself may depend on that order.
type answerIndex struct {
	seed maphash.Seed
	// slots has the answers, each where its hash says or behind that, without an empty slot
	// between. Their number is a power of two, and at most three quarters of them are used.
	slots []answerSlot
	used  int

	fetched uint32 // of no meaning; see fetch
}

// answerSlot has the hash of a key, of which one bit is always set, and the lowest 32 bits of the
// number of its answer. 0 is an empty slot.
type answerSlot struct{ hash, number uint32 }

// minSlots is the number of slots of the smallest index.
const minSlots = 1024

// hashOf returns the hash of a key.
func (x *answerIndex) hashOf(key string) uint32 {
	if x.slots == nil {
		x.seed, x.slots = maphash.MakeSeed(), make([]answerSlot, minSlots)
	}
	return uint32(maphash.String(x.seed, key)) | 1<<31
}

// slot returns the place of the slot that has a hash and that same accepts, or of the empty one
// in which it would be.
func (x *answerIndex) slot(hash uint32, same func(number uint32) bool) (at int, found bool) {
	mask := len(x.slots) - 1
	for at = int(hash) & mask; ; at = (at + 1) & mask {
		switch s := x.slots[at]; {
		case s.hash == 0:
			return at, false
		case s.hash == hash && same(s.number):
			return at, true
		}
	}
}

// fetchAhead is the number of keys for which fetch is called before the first of them is looked up.
const fetchAhead = 16

// fetch loads the slot of a key that will be looked up soon. Such loads, one after the other,
// wait for memory together, and the lookups between which much else is done would each wait alone.
func (x *answerIndex) fetch(key string) {
	hash := x.hashOf(key)
	x.fetched ^= x.slots[int(hash)&(len(x.slots)-1)].hash
}

// put fills a place that slot has returned.
func (x *answerIndex) put(at int, hash uint32, number uint64) {
	if x.slots[at].hash == 0 {
		x.used++
	}
	x.slots[at] = answerSlot{hash, uint32(number)}
	if x.used*4 <= len(x.slots)*3 {
		return
	}
	before := x.slots
	x.slots = make([]answerSlot, 2*len(before))
	never := func(uint32) bool { return false }
	for _, s := range before {
		if s.hash != 0 {
			at, _ := x.slot(s.hash, never)
			x.slots[at] = s
		}
	}
}

// remove empties a place, and moves those behind it that would not be found any more.
func (x *answerIndex) remove(at int) {
	mask := len(x.slots) - 1
	x.used--
	for next := (at + 1) & mask; x.slots[next].hash != 0; next = (next + 1) & mask {
		// A slot may move to a place that is not before the one that its hash says.
		if home := int(x.slots[next].hash) & mask; (next-home)&mask >= (next-at)&mask {
			x.slots[at], at = x.slots[next], next
		}
	}
	x.slots[at] = answerSlot{}
}
