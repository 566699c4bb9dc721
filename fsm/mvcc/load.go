package mvcc

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sync"
	"unsafe"

	"github.com/kvorum/kvorum/kv"
)

// ErrInvalidVersion is returned for versions that no Snapshot yields: out of order, or not of
// the store that LoadOptions describe.
var ErrInvalidVersion = errors.New("invalid version")

// LoadOptions describe the store that a Loader makes.
type LoadOptions struct {
	Options
	Revision        uint64 // of the store
	CompactRevision uint64 // without history it is Revision
	History         bool   // whether the store keeps superseded versions
	Clock           int64  // the cluster clock, in milliseconds since the Unix epoch
}

// Loader makes a Store from the versions that a Snapshot has yielded, divided into blocks of
// consecutive versions. Several goroutines may fill blocks, each with a Worker of its own.
type Loader struct {
	options LoadOptions
	s       *Store

	mu       sync.Mutex // guards the fields below, and of the store's arena all but open chunks
	runs     []*run
	length   int64
	bytes    int64
	versions int
	oldBytes int64
}

// run is what a block has become.
type run struct {
	number int
	keys   []loadedKey
	log    []loadedChange // in the order of the versions
	// ending are the newest versions of keys that have a deadline or a lease, in order.
	ending []ref
	oldest ref // the last version; its record has room for a previous one
}

// loadedKey is the newest version of a key.
type loadedKey struct {
	hash   uint64
	newest ref
}

// NewLoader returns a Loader.
func NewLoader(options LoadOptions) *Loader {
	return &Loader{options: options, s: New(options.Options)}
}

// Worker fills blocks of a Loader. It belongs to one goroutine.
type Worker struct {
	l      *Loader
	stream stream
	run    *run

	// pending is the block's last version, which is written when the next one is known.
	pending    Version
	hasPending bool
	memory     []byte // holds pending's key, value and content type
	younger    ref    // the version that superseded pending, 0 if it is the newest
	step       uint8  // link.step of pending's record
	skips      []ref  // of pending's key in this block: the records that have a skip

	// Lengths of the newest block, which are a guess at those of the next one.
	keys, changes int

	length, bytes int64
	versions      int
	oldBytes      int64
}

// Worker returns a Worker.
func (l *Loader) Worker() *Worker { return &Worker{l: l} }

// Block ends the present block and begins the one with this number. Blocks may be filled in
// any order.
func (w *Worker) Block(number int) {
	w.end()
	// If a key has versions in many small blocks, one in some of them gets a skip. The factor
	// has none in common with skipEvery, and spreads these blocks.
	w.step = uint8(-5 * number)
	w.run = &run{number: number, keys: make([]loadedKey, 0, w.keys), log: make([]loadedChange, 0, w.changes)}
}

// Add adds a copy of the block's next version. The error is an ErrInvalidVersion, after which
// the Loader must not be used any more.
func (w *Worker) Add(v Version) error {
	if err := w.l.options.check(&v); err != nil {
		return err
	}
	same := w.hasPending && w.pending.Item.Key == v.Item.Key
	if w.hasPending {
		if err := w.l.options.checkOrder(&w.pending, &v); err != nil {
			return err
		}
		if w.write(same); !same {
			w.endKey()
		}
	}
	w.keep(&v)
	return nil
}

// Close ends the present block. The Worker must not be used any more.
func (w *Worker) Close() {
	w.end()
	l := w.l
	l.mu.Lock()
	defer l.mu.Unlock()
	l.s.keys.arena.close(&w.stream)
	l.length += w.length
	l.bytes += w.bytes
	l.versions += w.versions
	l.oldBytes += w.oldBytes
}

// end ends the present block, if there is one.
func (w *Worker) end() {
	if w.run == nil {
		return
	}
	if w.hasPending {
		w.run.oldest = w.write(true) // the next block may begin with an older version
		w.endKey()
		w.hasPending, w.younger = false, 0
	}
	w.l.mu.Lock()
	defer w.l.mu.Unlock()
	w.l.runs = append(w.l.runs, w.run)
	w.keys, w.changes = len(w.run.keys), len(w.run.log)
	w.run = nil
}

// endKey completes the chain of the present key.
func (w *Worker) endKey() {
	w.l.s.keys.arena.setSkips(w.skips)
	w.skips = w.skips[:0]
}

// keep makes v the pending version.
func (w *Worker) keep(v *Version) {
	it := &v.Item
	w.memory = slices.Grow(w.memory[:0], len(it.Key)+len(it.Value)+len(it.ContentType))
	w.memory = append(append(append(w.memory, it.Key...), it.Value...), it.ContentType...)
	w.pending, w.hasPending = *v, true
	key, rest := w.memory[:len(it.Key)], w.memory[len(it.Key):]
	w.pending.Item.Key = alias(key)
	w.pending.Item.Value, w.pending.Item.ContentType = rest[:len(it.Value)], alias(rest[len(it.Value):])
}

// alias returns b as a string that is valid until b is changed.
func alias(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// write writes the pending version; older says that its record has room for a previous one,
// which follows.
func (w *Worker) write(older bool) ref {
	v := &w.pending
	newest := w.younger == 0
	if w.step--; newest && len(w.run.keys) > 0 {
		w.step = skipEvery / 2 // few versions need no skip, neither now nor soon
	}
	l := link{linked: older}
	if older {
		l.step = w.step % skipEvery
	}
	h, size := layout(v, l)
	r, memory := w.alloc(size, v.Item.ModRevision)
	v.write(memory, h, l)
	if h.skips() {
		w.skips = append(w.skips, r)
	}
	a := &w.l.s.keys.arena
	if newest {
		w.run.keys = append(w.run.keys, loadedKey{hashOf(v.Item.Key), r})
		if v.Item.Deadline != 0 || v.Item.Lease != 0 {
			w.run.ending = append(w.run.ending, r)
		}
	} else {
		a.at(w.younger).setPrevious(r)
	}
	if w.younger = 0; older {
		w.younger = r
	}
	if newest && !v.Deleted {
		w.length++
		w.bytes += Bytes(&v.Item)
	} else {
		w.versions++
		w.oldBytes += int64(size)
	}
	if o := &w.l.options; o.History && v.Item.ModRevision >= o.CompactRevision {
		w.run.log = append(w.run.log, loadedChange{v.Item.ModRevision, v.Order, r})
	}
	return r
}

// alloc returns memory of the worker's own chunk.
func (w *Worker) alloc(size int, revision uint64) (ref, []byte) {
	a := &w.l.s.keys.arena
	if size > a.chunkBytes/ownChunk || w.stream.used+size > len(w.stream.memory) {
		w.l.mu.Lock()
		defer w.l.mu.Unlock()
	}
	return a.alloc(&w.stream, size, revision)
}

// check returns an error if a store has no such version.
func (o *LoadOptions) check(v *Version) error {
	it := &v.Item
	switch {
	case len(it.Key)+len(it.Value) > MaxItemBytes || len(it.ContentType) > kv.MaxContentTypeBytes:
		return fmt.Errorf("%w: too large", ErrInvalidVersion)
	case it.ModRevision > min(o.Revision, MaxRevision) || it.CreateRevision > it.ModRevision:
		return fmt.Errorf("%w: revision out of range", ErrInvalidVersion)
	case it.Deadline < 0:
		return fmt.Errorf("%w: deadline %d", ErrInvalidVersion, it.Deadline)
	case v.Deleted && (!o.History || it.ModRevision < o.CompactRevision):
		return fmt.Errorf("%w: a deletion at revision %d without history", ErrInvalidVersion, it.ModRevision)
	}
	return nil
}

// checkOrder returns an error if v can't follow last.
func (o *LoadOptions) checkOrder(last, v *Version) error {
	a, b := &last.Item, &v.Item
	switch {
	case a.Key < b.Key:
		return nil
	case a.Key > b.Key:
		return fmt.Errorf("%w: keys out of order", ErrInvalidVersion)
	case !o.History || a.ModRevision < o.CompactRevision:
		return fmt.Errorf("%w: revision %d is not the only one before the compact revision", ErrInvalidVersion, a.ModRevision)
	case a.ModRevision < b.ModRevision || a.ModRevision == b.ModRevision && last.Order <= v.Order:
		return fmt.Errorf("%w: versions out of order", ErrInvalidVersion)
	}
	return nil
}

// Finish returns the Store when all Workers are closed. The error is an ErrInvalidVersion.
func (l *Loader) Finish() (*Store, error) {
	if l.options.CompactRevision > l.options.Revision {
		return nil, fmt.Errorf("%w: compact revision %d above revision %d", ErrInvalidVersion, l.options.CompactRevision, l.options.Revision)
	}
	slices.SortFunc(l.runs, func(a, b *run) int { return cmp.Compare(a.number, b.number) })
	if err := l.join(); err != nil {
		return nil, err
	}
	s, n := l.s, 0
	for _, r := range l.runs {
		n += len(r.keys)
	}
	l.fillSlots(n)
	s.table.init(&s.keys, n)
	var building sync.WaitGroup
	var logErr error
	building.Go(func() { s.tree.build(n) })
	building.Go(func() { logErr = l.fillLog() })
	l.fillTable()
	building.Wait()
	if logErr != nil {
		return nil, logErr
	}
	l.fillEnding()
	l.publish()
	return s, nil
}

// join checks the order over blocks, and links versions of one key in several blocks.
func (l *Loader) join() error {
	a := &l.s.keys.arena
	var previous *run
	var newest ref    // of the last key so far
	var divided []ref // the newest versions of keys in several blocks
	for _, r := range l.runs {
		if len(r.keys) == 0 {
			continue
		}
		last := r.keys[len(r.keys)-1].newest
		if previous != nil {
			same, err := l.joinRuns(previous, r)
			if err != nil {
				return fmt.Errorf("blocks %d and %d: %w", previous.number, r.number, err)
			}
			if same && (len(divided) == 0 || divided[len(divided)-1] != newest) {
				divided = append(divided, newest)
			}
			if same && len(r.keys) == 0 { // the whole block is of that key
				last = newest
			}
		}
		previous, newest = r, last
	}
	for _, newest := range divided {
		a.setSkips(a.skipsOf(newest))
	}
	return nil
}

// joinRuns checks the order of two blocks in succession. If they divide a key, it links its
// versions, and takes it off the second block's keys.
func (l *Loader) joinRuns(before, r *run) (same bool, err error) {
	a := &l.s.keys.arena
	rec := a.at(r.keys[0].newest)
	last, first := a.at(before.oldest).version(), rec.version()
	if err := l.options.checkOrder(&last, &first); err != nil {
		return false, err
	}
	if last.Item.Key != first.Item.Key {
		return false, nil
	}
	a.at(before.oldest).setPrevious(r.keys[0].newest)
	if len(r.ending) > 0 && r.ending[0] == r.keys[0].newest {
		r.ending = r.ending[1:]
	}
	r.keys = r.keys[1:]
	if !first.Deleted { // it was counted as a key
		l.length--
		l.bytes -= Bytes(&first.Item)
		l.versions++
		l.oldBytes += int64(rec.size())
	}
	return true, nil
}

// skipsOf returns the records with a skip in the chain from r on.
func (a *arena) skipsOf(r ref) (records []ref) {
	for rec := a.at(r); !rec.isZero(); rec = a.at(r) {
		if rec.head().skips() {
			records = append(records, r)
		}
		r = rec.previous()
	}
	return records
}

// fillSlots gives the keys their slots, in order, from 1 on.
func (l *Loader) fillSlots(n int) {
	s := &l.s.keys.slots
	s.reserve(uint32(n))
	for _, r := range l.runs {
		for _, k := range r.keys {
			s.used++
			s.at(s.used).Store(uint64(k.newest))
		}
	}
}

// fillEnding adds the keys that have a deadline or a lease to the indexes of these.
func (l *Loader) fillEnding() {
	s, slot := l.s, uint32(0)
	for _, r := range l.runs {
		for _, k := range r.keys {
			slot++
			if len(r.ending) > 0 && r.ending[0] == k.newest {
				it := s.keys.arena.at(k.newest).item()
				s.deadlines.change(slot, 0, it.Deadline)
				s.attachments.change(slot, 0, it.Lease)
				r.ending = r.ending[1:]
			}
		}
	}
	s.deadlines.publish()
}

// tableParts is the number of parts of a table that are filled concurrently.
const tableParts = 4

// fillTable adds the keys to the table, in which they have room. Each goroutine fills the
// parts for some of the hashes.
func (l *Loader) fillTable() {
	t := &l.s.table
	directory := *t.directory.Load()
	fillers := min(len(directory), tableParts)
	var wg sync.WaitGroup
	var mu sync.Mutex
	type left struct {
		hash uint64
		slot uint32
	}
	var rest []left // keys of full parts
	for i := range fillers {
		wg.Go(func() {
			slot := uint32(0)
			var mine []left
			for _, r := range l.runs {
				for _, k := range r.keys {
					slot++
					if int(k.hash>>32*uint64(fillers)>>32) != i {
						continue
					}
					if p := partAt(directory, k.hash).Load(); p.hasRoom() {
						p.insert(k.hash, slot)
					} else {
						mine = append(mine, left{k.hash, slot})
					}
				}
			}
			mu.Lock()
			defer mu.Unlock()
			rest = append(rest, mine...)
		})
	}
	wg.Wait()
	for _, k := range rest {
		t.insert(k.hash, k.slot)
	}
}

// publish sets the store's figures.
func (l *Loader) publish() {
	s, o := l.s, &l.options
	s.history = o.History
	s.versions, s.oldBytes = l.versions, l.oldBytes
	s.length.Store(l.length)
	s.bytes.Store(l.bytes)
	s.clock.Store(o.Clock)
	s.revision.Store(o.Revision)
	compacted := o.CompactRevision
	if !o.History {
		compacted = o.Revision
	}
	s.compacted.Store(compacted)
	s.oldestChange.Store(compacted)
	if !o.History {
		s.oldestChange.Store(compacted + 1)
	}
	s.reclaimer.reached = s.oldestChange.Load()
	s.log.publish()
}
