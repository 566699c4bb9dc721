package fsm

import (
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/kvorum/kvorum/fsm/mvcc"
	"github.com/kvorum/kvorum/internal/wire"
)

// maxWorkers is the maximum number of goroutines that decode. Each has memory for a few
// blocks, so a limit keeps their memory from growing with the number of processors. One
// reader can't keep more of them busy.
const maxWorkers = 8

// decoders decode a snapshot's blocks of versions in up to maxWorkers goroutines, and hand
// the versions to a loader. One goroutine hands them the blocks, in order, and then waits.
type decoders struct {
	loader *mvcc.Loader
	read   readBlock
	own    *mvcc.Worker // of the goroutine that hands over blocks; nil until it is needed

	blocks chan itemBlock
	free   chan []byte // memory of decoded blocks, for the next ones
	given  int         // number of blocks so far
	failed atomic.Bool // a block was bad
	wg     sync.WaitGroup

	mu   sync.Mutex
	done []decoded // guarded by mu
}

// itemBlock is a block of versions.
type itemBlock struct {
	number  int    // among the blocks of items, from 0
	memory  []byte // holds payload
	payload []byte
}

// decoded is the result of decoding one block, or the sum of all results.
type decoded struct {
	number   int
	items    uint64 // number of those that exist
	versions uint64 // number of all versions
	hash     stateHash
	err      error
}

func newDecoders(loader *mvcc.Loader, read readBlock) *decoders {
	workers := min(runtime.GOMAXPROCS(0), maxWorkers)
	t := &decoders{
		loader: loader, read: read,
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
		if t.own == nil {
			t.own = t.loader.Worker()
		}
		t.add(t.decodeBlock(b, t.own))
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

// wait returns when all blocks are decoded. It returns the sum of their results, or the
// error of the first bad block.
func (t *decoders) wait() (all decoded, err error) {
	close(t.blocks)
	t.wg.Wait()
	if t.own != nil {
		t.own.Close()
	}
	slices.SortFunc(t.done, func(a, b decoded) int { return a.number - b.number })
	for _, d := range t.done {
		if d.err != nil {
			return decoded{}, d.err
		}
		all.items += d.items
		all.versions += d.versions
		all.hash.items += d.hash.items
		all.hash.attributes += d.hash.attributes
	}
	return all, nil
}

// work decodes blocks until there are no more.
func (t *decoders) work() {
	worker := t.loader.Worker()
	defer worker.Close()
	var mine []decoded
	for b := range t.blocks {
		mine = append(mine, t.decodeBlock(b, worker))
		select {
		case t.free <- b.memory[:0]:
		default:
		}
	}
	t.add(mine...)
}

// add keeps the results of some blocks.
func (t *decoders) add(some ...decoded) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.done = append(t.done, some...)
}

// decodeBlock hands one block's versions to worker.
func (t *decoders) decodeBlock(b itemBlock, worker *mvcc.Worker) decoded {
	worker.Block(b.number)
	d := decoded{number: b.number}
	r := wire.NewReader(b.payload)
	t.read(&r, func(v *mvcc.Version, older bool) bool {
		if d.err = worker.Add(*v); d.err != nil {
			d.err = fmt.Errorf("%w: %w", ErrMalformed, d.err)
			return false
		}
		if d.versions++; !older && !v.Deleted {
			d.items++
			d.hash.add(&v.Item)
		}
		return true
	})
	if err := r.Err(); err != nil {
		d.err = err
	}
	if d.err != nil {
		d.err = fmt.Errorf("snapshot items: %w", d.err)
		t.failed.Store(true)
	}
	return d
}

// alias returns b as a string that is valid until b is changed. A copy of each key would be
// garbage as soon as the item is in the map.
func alias(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
