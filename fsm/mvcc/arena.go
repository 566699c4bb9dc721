package mvcc

import (
	"sync/atomic"
	"unsafe"
)

// Sizes of chunks.
const (
	// DefaultChunkBytes is the default size of a chunk.
	DefaultChunkBytes = 1 << 20
	// firstChunkBytes is the size of the first chunk. Later ones are as large as an eighth
	// of all chunks, up to the maximum, so that a small store takes little memory.
	firstChunkBytes = 16 << 10
	// ownChunk is the fraction of a chunk from which on a record gets a chunk of its own.
	// So at most that fraction of a chunk is left empty at its end.
	ownChunk = 8
	// pageChunks is the number of chunks of a page.
	pageChunks = 256
)

// ref is the place of a record in an arena: the number of its chunk in the high 32 bits, and
// its offset in the low ones. There is no chunk 0, and 0 is no place.
type ref uint64

func newRef(chunk uint32, offset int) ref { return ref(chunk)<<32 | ref(uint32(offset)) }

func (r ref) chunk() uint32 { return uint32(r >> 32) }
func (r ref) offset() int   { return int(uint32(r)) }

// arena is the memory of records: chunks without pointers, so that the garbage collector
// visits chunks and not records. A chunk is only appended to, and dropped as a whole.
// Numbers of chunks are not used again. So a ref names one record, or none any more.
//
// One goroutine at a time may change an arena. Any number may call at meanwhile, for refs
// that were published by an atomic store after the record was written.
type arena struct {
	pages      atomic.Pointer[[]atomic.Pointer[chunkPage]]
	chunkBytes int

	// All below belong to the writer.
	last  uint32 // number of the newest chunk
	bytes int64  // of all chunks
	fresh stream // of new versions
	moved stream // of records from sparse chunks
	// sparse are the closed chunks of which more than half is dead, unless they are evacuated.
	sparse []uint32
}

// chunkPage has the chunks of consecutive numbers.
type chunkPage struct {
	// first are the chunks' first bytes: nil if a chunk does not exist, or was dropped.
	first [pageChunks]atomic.Pointer[byte]

	// Both belong to the writer.
	chunks  [pageChunks]chunk
	dropped int // number of chunks
}

// chunk describes a chunk to the writer.
type chunk struct {
	size, used int
	live       int    // bytes of records that are not dead
	newest     uint64 // the greatest revision of its records
	closed     bool   // no further record is added
	evacuated  bool   // all of its records that can be moved are moved
}

// stream is the open chunk of one kind of records.
type stream struct {
	number uint32 // 0 if there is none
	memory []byte
	used   int
}

func (a *arena) init(chunkBytes int) {
	a.chunkBytes = chunkBytes
	pages := make([]atomic.Pointer[chunkPage], 1)
	pages[0].Store(new(chunkPage))
	a.pages.Store(&pages)
}

// page returns the page of a chunk, nil if all its chunks are dropped.
func (a *arena) page(number uint32) *chunkPage {
	return (*a.pages.Load())[number/pageChunks].Load()
}

// chunkOf returns the description of a chunk that is not dropped. It is the writer's.
func (a *arena) chunkOf(number uint32) *chunk {
	return &a.page(number).chunks[number%pageChunks]
}

// at returns the record at r, the zero record if its chunk is dropped or r is 0.
func (a *arena) at(r ref) record {
	p := a.page(r.chunk())
	if p == nil {
		return record{}
	}
	first := p.first[r.chunk()%pageChunks].Load()
	if first == nil {
		return record{}
	}
	return record{(*byte)(unsafe.Add(unsafe.Pointer(first), r.offset()))}
}

// alloc returns memory for a record of size bytes, a multiple of 8, that is of a revision.
// The memory is zero and aligned to 8 bytes.
func (a *arena) alloc(s *stream, size int, revision uint64) (ref, []byte) {
	if size > a.chunkBytes/ownChunk {
		number, memory := a.add(size)
		c := a.chunkOf(number)
		c.used, c.live, c.newest, c.closed = size, size, revision, true
		return newRef(number, 0), memory
	}
	if s.used+size > len(s.memory) {
		a.close(s)
		s.number, s.memory = a.add(max(size, a.nextSize()))
		s.used = 0
	}
	at := s.used
	s.used += size
	c := a.chunkOf(s.number)
	c.used, c.live, c.newest = s.used, c.live+size, max(c.newest, revision)
	return newRef(s.number, at), s.memory[at:s.used:s.used]
}

// nextSize returns the size of the next chunk.
func (a *arena) nextSize() int {
	return int(min(max(a.bytes/8&^7, firstChunkBytes), int64(a.chunkBytes)))
}

// add makes a chunk.
func (a *arena) add(size int) (number uint32, memory []byte) {
	a.last++
	number = a.last
	if pages := *a.pages.Load(); int(number/pageChunks) == len(pages) {
		double := make([]atomic.Pointer[chunkPage], 2*len(pages))
		for i := range pages {
			double[i].Store(pages[i].Load())
		}
		a.pages.Store(&double)
	}
	at := &(*a.pages.Load())[number/pageChunks]
	if at.Load() == nil {
		at.Store(new(chunkPage))
	}
	memory = make([]byte, size)
	p := at.Load()
	p.chunks[number%pageChunks] = chunk{size: size}
	p.first[number%pageChunks].Store(unsafe.SliceData(memory))
	a.bytes += int64(size)
	return number, memory
}

// close ends the open chunk of a stream.
func (a *arena) close(s *stream) {
	if s.number == 0 {
		return
	}
	a.chunkOf(s.number).closed = true
	a.settle(s.number)
	*s = stream{}
}

// kill marks the record at r, which no slot and no live record refers to any more, as dead.
// It returns the record's size.
func (a *arena) kill(r ref) int {
	rec := a.at(r)
	size := rec.size()
	rec.setDead()
	c := a.chunkOf(r.chunk())
	before := c.live
	c.live -= size
	if 2*before > c.size || c.live == 0 {
		a.settle(r.chunk())
	}
	return size
}

// settle drops a closed chunk without live records. It notes one that has become sparse.
func (a *arena) settle(number uint32) {
	switch c := a.chunkOf(number); {
	case !c.closed:
	case c.live == 0:
		a.drop(number)
	case 2*c.live <= c.size && !c.evacuated:
		a.sparse = append(a.sparse, number)
	}
}

// drop lets go of a chunk. Readers of its records keep its memory.
func (a *arena) drop(number uint32) {
	p := a.page(number)
	a.bytes -= int64(p.chunks[number%pageChunks].size)
	p.first[number%pageChunks].Store(nil)
	p.dropped++
	if full := pageChunks - firstOnPage(number); p.dropped == full {
		(*a.pages.Load())[number/pageChunks].Store(nil)
	}
}

// firstOnPage returns the number of chunks that a page lacks at its beginning: number 0 is
// no chunk.
func firstOnPage(number uint32) int {
	if number < pageChunks {
		return 1
	}
	return 0
}

// dropped reports whether a chunk is dropped.
func (a *arena) dropped(number uint32) bool {
	p := a.page(number)
	return p == nil || p.first[number%pageChunks].Load() == nil
}
