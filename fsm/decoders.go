package fsm

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/kvorum/kvorum/internal/omap"
	"github.com/kvorum/kvorum/internal/wire"
)

// maxWorkers is the maximum number of goroutines that decode. Each has memory for a few
// blocks, so a limit keeps their memory from growing with the number of processors. One
// reader can't keep more of them busy.
const maxWorkers = 8

// decoders decode a snapshot's blocks of items in up to maxWorkers goroutines, and put the
// items into a map. One goroutine hands them the blocks, in order, and then waits.
type decoders struct {
	into        *omap.Map
	maxRevision uint64

	blocks chan itemBlock
	free   chan []byte // memory of decoded blocks, for the next ones
	given  int         // number of blocks so far
	failed atomic.Bool // a block was bad
	wg     sync.WaitGroup

	mu   sync.Mutex
	done []decoded // guarded by mu
}

// itemBlock is a block of items.
type itemBlock struct {
	number  int    // among the blocks of items, from 0
	memory  []byte // holds payload
	payload []byte
}

// decoded is the result of decoding one block, or the sum of all results.
type decoded struct {
	number      int
	count, hash uint64 // of its items
	first, last string // the first and the last key
	err         error
}

func newDecoders(into *omap.Map, maxRevision uint64) *decoders {
	workers := min(runtime.GOMAXPROCS(0), maxWorkers)
	t := &decoders{
		into: into, maxRevision: maxRevision,
		blocks: make(chan itemBlock, workers), free: make(chan []byte, 2*workers+1),
	}
	for range workers {
		t.wg.Go(t.work)
	}
	return t
}

// largeBlock is the minimum length of a block that is decoded before the next one is read,
// so that several blocks with one large item each are not in memory together.
const largeBlock = 4 * blockTarget

// decode takes over a block, whose payload is in memory, and returns memory for the next
// one, nil after a bad block. Memory that has grown for a large block is returned at once.
// If it went to other blocks too, all their memory would be as large in the end.
func (t *decoders) decode(memory, payload []byte) []byte {
	if t.failed.Load() {
		return nil
	}
	b := itemBlock{number: t.given, memory: memory, payload: payload}
	t.given++
	if len(payload) >= largeBlock {
		loader := t.into.NewLoader()
		t.add(t.decodeBlock(b, loader))
		loader.Flush()
		return memory[:0]
	}
	if cap(memory) > 2*largeBlock {
		b.memory = append(t.memory(), payload...)
		b.payload = b.memory
		t.blocks <- b
		return memory[:0]
	}
	t.blocks <- b
	return t.memory()
}

// memory returns memory for a block.
func (t *decoders) memory() []byte {
	select {
	case memory := <-t.free:
		return memory
	default:
		return make([]byte, 0, blockTarget+2*pauseBytes)
	}
}

// wait returns when all blocks are in the map. It returns the sum of their results, or the
// error of the first bad block.
func (t *decoders) wait() (all decoded, err error) {
	close(t.blocks)
	t.wg.Wait()
	slices.SortFunc(t.done, func(a, b decoded) int { return a.number - b.number })
	for i, d := range t.done {
		if d.err != nil {
			return decoded{}, d.err
		}
		if i > 0 && d.count > 0 && d.first <= all.last {
			return decoded{}, fmt.Errorf("snapshot items: %w: items out of order", ErrMalformed)
		}
		all.count += d.count
		all.hash += d.hash
		if d.count > 0 {
			all.last = d.last
		}
	}
	return all, nil
}

// work decodes blocks until there are no more.
func (t *decoders) work() {
	loader := t.into.NewLoader()
	var mine []decoded
	for b := range t.blocks {
		mine = append(mine, t.decodeBlock(b, loader))
		select {
		case t.free <- b.memory[:0]:
		default:
		}
	}
	loader.Flush()
	t.add(mine...)
}

// add keeps the results of some blocks.
func (t *decoders) add(some ...decoded) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.done = append(t.done, some...)
}

// decodeBlock adds one block's items to loader.
func (t *decoders) decodeBlock(b itemBlock, loader *omap.Loader) decoded {
	d := decodeItems(b.payload, t.maxRevision, loader)
	d.number = b.number
	if d.err != nil {
		t.failed.Store(true)
	}
	return d
}

// decodeItems adds one block's items to loader. They must be in ascending order of
// their keys.
func decodeItems(payload []byte, maxRevision uint64, loader *omap.Loader) decoded {
	var out decoded
	var last string // aliases payload
	d := wire.NewReader(payload)
	for d.Len() > 0 {
		it := omap.Item{
			Key:            alias(d.Bytes()),
			Value:          d.Bytes(),
			CreateRevision: d.Uvarint(),
			ModRevision:    d.Uvarint(),
			Version:        d.Uvarint(),
		}
		switch {
		case d.Err() != nil:
		case len(it.Key) > omap.MaxKeyLength || len(it.Key)+len(it.Value) > omap.MaxItemSize:
			d.Malformed("item is too large")
		case out.count > 0 && it.Key <= last:
			d.Malformed("items out of order")
		case it.CreateRevision > it.ModRevision || it.ModRevision > maxRevision:
			d.Malformed("revision out of range")
		default:
			if out.count == 0 {
				out.first = strings.Clone(it.Key)
			}
			loader.Add(it)
			out.hash += itemHash(it)
			out.count++
			last = it.Key
		}
	}
	out.last = strings.Clone(last)
	if err := d.Err(); err != nil {
		out.err = fmt.Errorf("snapshot items: %w", err)
	}
	return out
}

// alias returns b as a string that is valid until b is changed. A copy of each key would be
// garbage as soon as the item is in the map.
func alias(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
