package mvcc

import "sync/atomic"

// pageSlots is the number of slots of a page: a page takes 32 KiB.
const pageSlots = 4096

// slots has a slot for each key: the ref of the key's newest version. A key keeps its slot,
// which the table and the tree name by its number, as long as it has versions. One
// goroutine at a time may change slots; any number may read them meanwhile.
type slots struct {
	pages atomic.Pointer[[]*slotPage]

	// Both belong to the writer.
	used uint32 // the greatest number that was ever taken; number 0 is no slot
	// free is a slot that can be used again, 0 for none. It has the number of the next one,
	// which is a ref of no record. So the release of many slots never copies a long list.
	free uint32
}

type slotPage [pageSlots]atomic.Uint64

func (s *slots) init() { s.pages.Store(new([]*slotPage)) }

// at returns a slot.
func (s *slots) at(number uint32) *atomic.Uint64 {
	return &(*s.pages.Load())[number/pageSlots][number%pageSlots]
}

// take returns the number of a free slot, after its ref was set.
func (s *slots) take(r ref) uint32 {
	if number := s.free; number != 0 {
		at := s.at(number)
		s.free = uint32(at.Load())
		at.Store(uint64(r))
		return number
	}
	s.used++
	s.reserve(s.used)
	s.at(s.used).Store(uint64(r))
	return s.used
}

// reserve makes the pages of the slots up to number.
func (s *slots) reserve(number uint32) {
	pages := *s.pages.Load()
	if int(number/pageSlots) < len(pages) {
		return
	}
	more := make([]*slotPage, number/pageSlots+1)
	for i := copy(more, pages); i < len(more); i++ {
		more[i] = new(slotPage)
	}
	s.pages.Store(&more)
}

// release makes a slot free. Nothing names it any more.
func (s *slots) release(number uint32) {
	s.at(number).Store(uint64(newRef(0, int(s.free))))
	s.free = number
}

// bytes returns the memory of all slots.
func (s *slots) bytes() int64 {
	return int64(len(*s.pages.Load())) * pageSlots * 8
}

// keys finds the records of keys by their slots.
type keys struct {
	arena arena
	slots slots
}

// newest returns the newest version in a slot and its ref, the zero record if the slot is
// free.
func (k *keys) newest(slot uint32) (record, ref) {
	at := k.slots.at(slot)
	r := ref(at.Load())
	for {
		if rec := k.arena.at(r); !rec.isZero() {
			return rec, r
		}
		// The chunk was dropped. If the version was moved before, the slot has its new place.
		now := ref(at.Load())
		if now == r {
			return record{}, 0
		}
		r = now
	}
}

// key returns the key of a slot, "" if the slot is free.
func (k *keys) key(slot uint32) string {
	rec, _ := k.newest(slot)
	return rec.key()
}
