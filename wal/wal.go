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

// Default values of the fields of Options, and sizes of the format.
const (
	// DefaultMaxSegmentSize is the maximum size in bytes of a segment: 64 MiB.
	DefaultMaxSegmentSize = 64 * 1024 * 1024
	// DefaultCacheBytes is the maximum number of bytes of the newest records that are kept in memory: 16 MiB.
	DefaultCacheBytes = 16 * 1024 * 1024
	// DefaultMaxOpenSegments is the maximum number of segments' files that are kept open: 16.
	DefaultMaxOpenSegments = 16
	// DefaultMarkerDelay is how long the log must be idle before it writes a marker that says its tail is synced.
	DefaultMarkerDelay = 100 * time.Millisecond
	// DefaultDurableEndDelay is how long after an append the durable end is saved in
	// the manifest. The promise is 10 s, which leaves a slow disk as long again. On a
	// full disk the save waits for room.
	DefaultDurableEndDelay = 5 * time.Second
	// HeaderSize is the length in bytes of a frame's header: checksum(4) length(4) type(1).
	HeaderSize = 9
	// MaxPayload is the maximum size in bytes of a record's payload: 128 MiB.
	MaxPayload = 128 * 1024 * 1024
)

// Types of records. The values are part of the file format.
const (
	RecordTypePut    byte = 1 // a key's new value, written by package store
	RecordTypeDelete byte = 2 // a key's removal, written by package store
	RecordTypeBatch  byte = 3 // several puts and deletes in one record, written by package store
	RecordTypeEntry  byte = 4 // one raft log entry, written by package cluster
	RecordTypeClear  byte = 5 // the removal of all keys, written by package store; no payload
)

// Frame is one record. Its writer defines the meaning of type and payload.
type Frame struct {
	Type    byte
	Payload []byte
}

// Owner names the node and the cluster to which a log belongs. It is written into
// every segment's header and checked at Open, so that a file of another node or
// cluster is refused.
type Owner struct {
	Node    string // at most 255 bytes
	Cluster string // at most 255 bytes
}

// Options configure Open. The zero value of each field means its default.
type Options struct {
	FS             FS            // the filesystem; nil is the operating system's
	MaxSegmentSize int64         // bytes; a single larger batch still gets a segment of its own
	CacheBytes     int64         // maximum bytes of the newest records kept in memory; 1 keeps none
	MarkerDelay    time.Duration // how long the log is idle before it writes a marker
	// DurableEndDelay is how long after an append the durable end is saved in the
	// manifest. It is counted from the first append behind the saved one.
	DurableEndDelay time.Duration
	// IgnoreEnd makes Open ignore the durable end in the manifest. It is for tests
	// which show the losses that are not found then.
	IgnoreEnd bool
	// MaxOpenSegments is the maximum number of segments' files that are kept open,
	// besides those being read. Files of older segments are opened when they are read.
	MaxOpenSegments int
	// NoSync makes Append return as soon as the operating system has the records.
	// They survive the end of the process. They survive a power failure only once Sync
	// has returned or the log has been idle for MarkerDelay.
	NoSync bool
	// Accept is called before anything in an existing log is changed, with the index
	// of its first record, or 0 for a log that may begin anywhere. Its error ends Open
	// and is returned. Nil accepts all.
	Accept func(begins uint64) error
	// Checked is called several times a second while Open checks an existing log, with
	// the number of bytes done and of all. Its error ends Open and is returned. It may
	// be nil.
	Checked func(done, total int64) error
	Owner   Owner
	Logger  *slog.Logger // nil discards

	open *openFiles // made by withDefaults
}

// maxSegmentSizeLimit is the maximum of Options.MaxSegmentSize, in bytes. It keeps
// every offset of a segment, one oversized batch included, inside 32 bits.
const maxSegmentSizeLimit = 2 << 30

// withDefaults returns the options with their defaults for zero fields. The error
// names a field that is out of range.
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
	case o.DurableEndDelay < 0:
		return o, fmt.Errorf("wal: DurableEndDelay %v is negative", o.DurableEndDelay)
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
	o.DurableEndDelay = cmp.Or(o.DurableEndDelay, DefaultDurableEndDelay)
	o.MaxOpenSegments = cmp.Or(o.MaxOpenSegments, DefaultMaxOpenSegments)
	o.open = newOpenFiles(o.FS, o.MaxOpenSegments)
	return o, nil
}

// WAL is a segmented log of records with consecutive indexes. All methods are
// safe for concurrent use. Reading never waits for a write in progress.
type WAL struct {
	dir  string
	opts Options

	// writeLock is the writers' lock: the goroutine whose token is in the channel may
	// change the log. It is a channel because it is held across file calls: a waiting
	// writer must be able to leave while another one hangs.
	writeLock chan struct{}

	// The fields below belong to the holder of writeLock.
	nextID    segmentID        // of the next segment to be made
	preparing bool             // a segment is being made for prepared, or is in it
	sealing   segmentID        // the segment that ends as soon as its successor's file is made; see Seal
	buf       []byte           // encodes batches
	prepared  chan preparation // one segment file made ahead, sent by its goroutine
	idle      *time.Timer      // fires when the log has been idle for MarkerDelay

	saveTimer *time.Timer // fires when the durable end is to be saved
	saveDue   bool        // saveTimer will fire
	replaced  uint64      // number of replacements of the manifest other than by saveEnd
	noRoom    bool        // there was no room to save the durable end; belongs to saveEnds, then to Close

	// mu guards the fields below. A change of segs, first or next needs writeLock as
	// well, so the holder of writeLock may read them without mu.
	mu       sync.Mutex
	segs     []*segment // ascending; only the last may be unsealed
	first    uint64     // see manifest.first
	next     uint64     // index of the next record; 0 is anywhere
	cache    cache
	err      error // the error that latched the log, wrapping ErrFailed
	released bool  // Close has released the segments
	counters counters

	failed   chan struct{} // closed when err is set
	stop     chan struct{} // closed when Close begins
	closed   chan struct{} // closed when Close ends
	closing  atomic.Bool
	closeErr error          // written before closed is closed
	wg       sync.WaitGroup // marker, record and preparation goroutines
}

// Open opens the log in dir, which it creates if needed, and checks every
// record. The caller makes sure that a directory is open only once, in one process. Open
// returns a *CorruptionError, *OwnerError or *VersionError when the files can't be
// trusted, and has then changed nothing. A log that ends before its durable end is
// corrupt. A torn tail is removed and logged as a warning.
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
		dir:       dir,
		opts:      opts,
		writeLock: make(chan struct{}, 1),
		nextID:    rec.nextID,
		prepared:  make(chan preparation, 1),
		idle:      time.NewTimer(opts.MarkerDelay),
		segs:      rec.segs,
		first:     rec.first,
		next:      rec.next,
		cache:     cache{max: opts.CacheBytes},
		failed:    make(chan struct{}),
		stop:      make(chan struct{}),
		closed:    make(chan struct{}),
		// The log that Open has found may reach beyond the saved durable end.
		saveTimer: time.NewTimer(opts.DurableEndDelay),
		saveDue:   true,
	}
	w.wg.Go(w.markIdle)
	w.wg.Go(w.saveEnds)
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

// Err returns the error that latched the log as failed, wrapping ErrFailed, or nil.
func (w *WAL) Err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// Failed returns a channel that is closed when the log latches a failure.
func (w *WAL) Failed() <-chan struct{} { return w.failed }

// fail latches the log and returns the error that every later change returns. The
// first cause stays.
func (w *WAL) fail(cause error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.err = fmt.Errorf("%w: %w", ErrFailed, cause)
		close(w.failed)
	}
	return w.err
}

// lock takes writeLock. It returns an error when the log is closed or fails, even
// while another writer hangs in a file call.
func (w *WAL) lock() error {
	select {
	case w.writeLock <- struct{}{}:
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
		<-w.writeLock
		return err
	}
	w.setBusySince(time.Now())
	return nil
}

func (w *WAL) unlock() {
	w.setBusySince(time.Time{})
	<-w.writeLock
}

// Close waits for the write in progress, writes a marker, saves the durable end,
// stops the background goroutines and closes the files. Writers that wait get
// ErrWALClosed. Another call waits for the first one and returns its error. Close does
// not write to the files of a failed log.
func (w *WAL) Close() error {
	if !w.closing.CompareAndSwap(false, true) {
		<-w.closed
		return w.closeErr
	}
	close(w.stop)
	w.writeLock <- struct{}{} // never released
	w.wg.Wait()
	w.idle.Stop()
	w.saveTimer.Stop()
	if w.Err() == nil {
		w.closeErr = w.mark()
	}
	if w.Err() == nil {
		w.closeErr = w.saveLastEnd()
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
