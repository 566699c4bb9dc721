package wal

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// Sizes and times that Options falls back to where a field is zero.
const (
	// DefaultMaxSegmentSize is the size in bytes at which a segment is closed and the next one opened: 64 MiB.
	DefaultMaxSegmentSize = 64 * 1024 * 1024
	// DefaultCacheBytes bounds the payload bytes of the newest records that are kept in memory: 16 MiB.
	DefaultCacheBytes = 16 * 1024 * 1024
	// DefaultMaxOpenSegments is how many segments' files are kept open: 16.
	DefaultMaxOpenSegments = 16
	// DefaultMarkerDelay is how long the log must be idle before it writes a marker that says its tail is synced.
	DefaultMarkerDelay = 100 * time.Millisecond
	// DefaultRecordDelay is how long after an append its durable end is written
	// into the manifest. What is promised is 10 s: a slow disk has the rest. On a
	// full disk it waits for room.
	DefaultRecordDelay = 5 * time.Second
	// HeaderSize is the length in bytes of a frame's header: checksum(4) length(4) type(1).
	HeaderSize = 9
	// MaxPayload is the largest payload in bytes that one record may hold: 128 MiB.
	MaxPayload = 128 * 1024 * 1024
)

// Types of record. The values are part of the file format.
const (
	RecordTypePut    byte = 1 // a key's new value, written by package store
	RecordTypeDelete byte = 2 // a key's removal, written by package store
	RecordTypeBatch  byte = 3 // several puts and deletes as one, written by package store
	RecordTypeEntry  byte = 4 // one raft log entry, written by package cluster
	RecordTypeClear  byte = 5 // the removal of all keys, written by package store; no payload
)

// Frame is one record as the log stores it: what it means is its writer's business.
type Frame struct {
	Type    byte
	Payload []byte
}

// Owner says whose log this is. It is written into every segment's header and
// checked at Open, so that a file of another node or cluster is refused.
type Owner struct {
	Node    string // at most 255 bytes
	Cluster string // at most 255 bytes
}

// Options configure Open. The zero value of each field means its default.
type Options struct {
	FS             FS            // the filesystem; nil is the operating system's
	MaxSegmentSize int64         // bytes; a single larger batch still gets a segment of its own
	CacheBytes     int64         // bytes of newest payloads kept in memory; 1 keeps none
	MarkerDelay    time.Duration // idle time before the synced-tail marker
	// RecordDelay is how long after the first append that the manifest's durable
	// end does not cover that end is moved on.
	RecordDelay time.Duration
	// IgnoreEnd has Open not compare the log with the durable end in its manifest.
	// It is for tests which show what is lost then.
	IgnoreEnd bool
	// MaxOpenSegments is how many segments' files are kept open, reads in progress
	// excepted; files of older segments are opened when they are read. Default 16.
	MaxOpenSegments int
	// NoSync makes Append return as soon as the operating system has the records:
	// they survive the process, and a power loss only once Sync has returned or
	// the log has been idle for MarkerDelay.
	NoSync bool
	// Accept is asked, before anything in an existing log is changed, whether one
	// that begins at this index will do; 0 is a log that may begin anywhere. Its
	// error is Open's. Nil accepts all.
	Accept func(begins uint64) error
	// Checked is told, several times a second, how many bytes of an existing log
	// Open has checked, and of how many. Its error ends Open and is Open's. Nil
	// where nobody asks.
	Checked func(done, total int64) error
	Owner   Owner
	Logger  *slog.Logger // nil discards

	open *openFiles // made by withDefaults
}

// maxSegmentSizeLimit keeps every offset of a segment, one oversized batch
// included, inside 32 bits.
const maxSegmentSizeLimit = 2 << 30

// withDefaults returns the options with zero fields filled in, or what is wrong with them.
func (o Options) withDefaults() (Options, error) {
	switch {
	case o.MaxSegmentSize < 0 || o.MaxSegmentSize > maxSegmentSizeLimit:
		return o, fmt.Errorf("wal: MaxSegmentSize %d is not within 0 and %d", o.MaxSegmentSize, maxSegmentSizeLimit)
	case o.CacheBytes < 0:
		return o, fmt.Errorf("wal: CacheBytes %d is negative", o.CacheBytes)
	case o.MaxOpenSegments < 0:
		return o, fmt.Errorf("wal: MaxOpenSegments %d is negative", o.MaxOpenSegments)
	case o.MarkerDelay < 0:
		return o, fmt.Errorf("wal: MarkerDelay %v is negative", o.MarkerDelay)
	case o.RecordDelay < 0:
		return o, fmt.Errorf("wal: RecordDelay %v is negative", o.RecordDelay)
	case len(o.Owner.Node) > maxOwnerName || len(o.Owner.Cluster) > maxOwnerName:
		return o, fmt.Errorf("wal: an owner's name is longer than %d bytes", maxOwnerName)
	}
	if o.FS == nil {
		o.FS = OS()
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	o.MaxSegmentSize = cmp.Or(o.MaxSegmentSize, DefaultMaxSegmentSize)
	o.CacheBytes = cmp.Or(o.CacheBytes, DefaultCacheBytes)
	o.MarkerDelay = cmp.Or(o.MarkerDelay, DefaultMarkerDelay)
	o.RecordDelay = cmp.Or(o.RecordDelay, DefaultRecordDelay)
	o.MaxOpenSegments = cmp.Or(o.MaxOpenSegments, DefaultMaxOpenSegments)
	o.open = newOpenFiles(o.FS, o.MaxOpenSegments)
	return o, nil
}

// WAL is a segmented log of records with consecutive indexes. All methods are
// safe for concurrent use. Reading never waits for a write in progress.
type WAL struct {
	dir  string
	opts Options

	// slot is the writers' lock: the goroutine that put the token in may change the log. It
	// is a channel because it is held across file calls.
	slot chan struct{}

	// The fields below belong to the holder of slot.
	nextID    segmentID        // of the next segment to be made
	preparing bool             // a segment is under way to prepared
	sealing   segmentID        // the segment that ends as soon as its successor's file is made; see Seal
	buf       []byte           // encodes batches
	prepared  chan preparation // one segment file made ahead, sent by its goroutine
	idle      *time.Timer      // fires when the log has been idle for MarkerDelay

	unrecorded *time.Timer // fires when the durable end is to be recorded
	recordDue  bool        // unrecorded will fire
	replaced   uint64      // how often the manifest was, but for recordEnd
	noRoom     bool        // there was no room to record the durable end; belongs to recordEnds, then to Close

	// mu guards the fields below. Changing segs, first or next needs slot as
	// well, so that the holder of slot may read them without mu.
	mu       sync.Mutex
	segs     []*segment // ascending; only the last may be unsealed
	first    uint64     // see manifest.first
	next     uint64     // index of the next record; 0 is anywhere
	cache    cache
	err      error // what latched the log, wrapping ErrFailed
	released bool  // Close has let go of the segments
	counters counters

	failed   chan struct{} // closed when err is set
	stop     chan struct{} // closed when Close begins
	closed   chan struct{} // closed when Close ends
	closing  atomic.Bool
	closeErr error          // written before closed is closed
	wg       sync.WaitGroup // marker, record and preparation goroutines
}

// Open opens the log in dir, which it creates if needed, and checks every
// record. One process may have one WAL open per directory; the caller sees to
// that. It returns a *CorruptionError, *OwnerError or *VersionError when the
// files are not to be trusted, and then has changed nothing. A log that ends
// before its durable end is corrupt. A torn end behind it, of which nothing says
// that it was synced, is cut and logged as a warning.
func Open(dir string, opts Options) (*WAL, error) {
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	rec, err := recoverLog(dir, opts)
	if err != nil {
		return nil, fmt.Errorf("open log %s: %w", dir, err)
	}
	w := &WAL{
		dir:      dir,
		opts:     opts,
		slot:     make(chan struct{}, 1),
		nextID:   rec.nextID,
		prepared: make(chan preparation, 1),
		idle:     time.NewTimer(opts.MarkerDelay),
		segs:     rec.segs,
		first:    rec.first,
		next:     rec.next,
		cache:    cache{max: opts.CacheBytes},
		failed:   make(chan struct{}),
		stop:     make(chan struct{}),
		closed:   make(chan struct{}),
		// What Open has found may reach beyond the recorded end.
		unrecorded: time.NewTimer(opts.RecordDelay),
		recordDue:  true,
	}
	w.wg.Go(w.markIdle)
	w.wg.Go(w.recordEnds)
	return w, nil
}

// FirstIndex returns the index of the first record, or 0 when the log is empty.
func (w *WAL) FirstIndex() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.emptyLocked() {
		return 0
	}
	return w.first
}

// LastIndex returns the index of the last record, or 0 when the log is empty.
func (w *WAL) LastIndex() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.emptyLocked() {
		return 0
	}
	return w.next - 1
}

func (w *WAL) emptyLocked() bool { return w.next == w.first }

// Err returns what latched the log as failed, wrapping ErrFailed, or nil.
func (w *WAL) Err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// Failed returns a channel that is closed when the log latches a failure.
func (w *WAL) Failed() <-chan struct{} { return w.failed }

// fail latches the log and returns the error that every change returns from
// now on. The first cause stays.
func (w *WAL) fail(cause error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.err = fmt.Errorf("%w: %w", ErrFailed, cause)
		close(w.failed)
	}
	return w.err
}

// lock takes the writers' slot. It gives up when the log is closed or fails,
// even while another writer hangs in a file call.
func (w *WAL) lock() error {
	select {
	case w.slot <- struct{}{}:
	case <-w.stop:
		return ErrWALClosed
	case <-w.failed:
		return w.Err()
	}
	err := w.Err()
	if w.closing.Load() {
		err = ErrWALClosed
	}
	if err != nil {
		<-w.slot
		return err
	}
	w.setBusySince(time.Now())
	return nil
}

func (w *WAL) unlock() {
	w.setBusySince(time.Time{})
	<-w.slot
}

// Close waits for the write in progress, marks the end as synced, records it as
// the durable end, stops the background goroutines and closes the files. Writers that wait get
// ErrWALClosed. Calling it again waits for the first call and returns its error.
// A log that failed closes without touching its files' content any more.
func (w *WAL) Close() error {
	if !w.closing.CompareAndSwap(false, true) {
		<-w.closed
		return w.closeErr
	}
	close(w.stop)
	w.slot <- struct{}{} // never given back
	w.wg.Wait()
	w.idle.Stop()
	w.unrecorded.Stop()
	if w.Err() == nil {
		w.closeErr = w.mark()
	}
	if w.Err() == nil {
		w.closeErr = w.recordLast()
	}
	if w.preparing {
		if p := <-w.prepared; p.file != nil {
			w.closeErr = errors.Join(w.closeErr, p.file.Close())
		}
	}
	w.mu.Lock()
	segs := w.segs
	w.segs, w.cache, w.released = nil, cache{}, true
	w.mu.Unlock()
	for _, s := range segs {
		w.closeErr = errors.Join(w.closeErr, s.release())
	}
	close(w.closed)
	return w.closeErr
}
