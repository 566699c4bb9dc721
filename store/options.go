package store

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/kvorum/kvorum/wal"
)

// Defaults of Options.
const (
	DefaultMaxKeySize          = 1024             // the maximum number of bytes of a key
	DefaultMaxValueSize        = 1024 * 1024      // the maximum number of bytes of a value
	DefaultMaxEntries          = 1_000_000        // the maximum number of keys
	DefaultSyncInterval        = 1 * time.Second  // the time between syncs without SyncWrites
	DefaultCleanupInterval     = 1 * time.Minute  // the time between removals of expired keys
	DefaultSnapshotInterval    = 5 * time.Minute  // the time between snapshots
	DefaultCompactionThreshold = 1000             // the number of deletes and overwrites for an early snapshot
	DefaultCompactionBytes     = 64 << 20         // the number of bytes written for an early snapshot
	DefaultCompactionInterval  = 10 * time.Second // the minimum time between a snapshot and an early one
)

// EvictionPolicy says which keys are removed when the store is full.
type EvictionPolicy int

// Policies of eviction. LRU and LFU take the best victim of a random sample of keys. A
// write counts as recent use.
const (
	EvictionNone   EvictionPolicy = iota // none: writes fail with ErrStoreFull
	EvictionLRU                          // the least recently used
	EvictionLFU                          // the least frequently used
	EvictionRandom                       // any
	EvictionTTL                          // the one with the nearest deadline; any if none has one
)

// String returns the policy's name.
func (p EvictionPolicy) String() string {
	switch p {
	case EvictionNone:
		return "none"
	case EvictionLRU:
		return "lru"
	case EvictionLFU:
		return "lfu"
	case EvictionRandom:
		return "random"
	case EvictionTTL:
		return "ttl"
	default:
		return "unknown"
	}
}

// PersistenceMode says what a store writes to its data directory.
type PersistenceMode int

// Modes of persistence.
const (
	persistenceUnset    PersistenceMode = iota // Full with a data directory, else None
	PersistenceNone                            // nothing
	PersistenceWAL                             // the log; snapshots only shorten it (CompactionThreshold, Compact)
	PersistenceSnapshot                        // snapshots alone: a crash loses the writes after the last one
	PersistenceFull                            // the log, and snapshots that shorten it
)

// String returns the mode's name.
func (m PersistenceMode) String() string {
	switch m {
	case persistenceUnset:
		return "unset"
	case PersistenceNone:
		return "none"
	case PersistenceWAL:
		return "wal"
	case PersistenceSnapshot:
		return "snapshot"
	case PersistenceFull:
		return "full"
	default:
		return "unknown"
	}
}

func (m PersistenceMode) hasLog() bool       { return m == PersistenceWAL || m == PersistenceFull }
func (m PersistenceMode) hasSnapshots() bool { return m == PersistenceSnapshot || m == PersistenceFull }

// Options configure a Store. New starts from DefaultOptions, applies each
// Option and refuses what Validate refuses.
type Options struct {
	// Storage limits. MaxBytes bounds keys and values together; 0 is no bound.
	MaxKeySize   int
	MaxValueSize int
	MaxEntries   int
	MaxBytes     int64
	ShardCount   int // rounded up to a power of two

	// Eviction
	EvictionPolicy EvictionPolicy

	// Persistence. A DataDir without a mode means PersistenceFull.
	PersistenceMode     PersistenceMode
	DataDir             string
	SyncWrites          bool          // sync before a write returns, rather than every SyncInterval; needs a log
	SyncInterval        time.Duration // of the log, without SyncWrites
	SnapshotInterval    time.Duration // with PersistenceSnapshot and PersistenceFull
	CompactionThreshold int           // deletes and overwrites before a snapshot is taken early
	CompactionBytes     int64         // bytes that must be written before that, too; 0 is no bound
	CompactionInterval  time.Duration // that must pass between a snapshot and an early one, too; 0 is no bound
	MaxSegmentSize      int64         // bytes of a segment of the log; a write that does not fit gets one of its own
	FS                  wal.FS        // nil is the operating system's; for tests

	// Expiry
	CleanupInterval time.Duration

	// CountReads has Metrics count gets, hits and misses. Parallel reads are faster
	// without it: the count between two lookups keeps a processor from overlapping them.
	CountReads bool

	// ReadTimeout bounds how long a Walk may take; 0 is no bound. Other reads
	// don't wait for anything.
	ReadTimeout time.Duration

	// Callbacks run outside of all locks, on the goroutine of the write that
	// evicted, or on the store's own. They may use the store. The value that they
	// are given is the store's own and must not be modified; it may be kept.
	OnEvict  func(key string, value []byte)
	OnExpire func(key string, value []byte)
	OnError  func(err error) // failures of background work

	// Logger receives the messages for operators; nil discards them.
	Logger *slog.Logger
	// Clock returns the time that deadlines are measured by; for tests. Nil is the
	// wall clock at New, and the time that has passed since.
	Clock func() time.Time

	nilOption bool // Apply was given a nil Option
}

// DefaultOptions returns the options that New starts from.
func DefaultOptions() *Options {
	return &Options{
		MaxKeySize:          DefaultMaxKeySize,
		MaxValueSize:        DefaultMaxValueSize,
		MaxEntries:          DefaultMaxEntries,
		ShardCount:          DefaultShards,
		SyncInterval:        DefaultSyncInterval,
		SnapshotInterval:    DefaultSnapshotInterval,
		CompactionThreshold: DefaultCompactionThreshold,
		CompactionBytes:     DefaultCompactionBytes,
		CompactionInterval:  DefaultCompactionInterval,
		MaxSegmentSize:      wal.DefaultMaxSegmentSize,
		CleanupInterval:     DefaultCleanupInterval,
		CountReads:          true,
	}
}

// Option changes Options.
type Option func(*Options)

// Apply applies opts in order. After a nil one Validate fails.
func (o *Options) Apply(opts ...Option) {
	for _, opt := range opts {
		if opt == nil {
			o.nilOption = true
			continue
		}
		opt(o)
	}
}

// fillIn sets the fields that depend on others, except for the clock.
func (o *Options) fillIn() {
	o.PersistenceMode = o.mode()
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.FS == nil {
		o.FS = wal.OS()
	}
}

// mode returns the mode of persistence that is set, or, if none is, the one that follows
// from DataDir.
func (o *Options) mode() PersistenceMode {
	switch {
	case o.PersistenceMode != persistenceUnset:
		return o.PersistenceMode
	case o.DataDir != "":
		return PersistenceFull
	default:
		return PersistenceNone
	}
}

// Limits of options.
const (
	maxKeySizeLimit   = 64 << 10
	maxValueSizeLimit = 64 << 20
)

// Validate returns a *ValidationError for the first field that is wrong.
func (o *Options) Validate() error {
	if o.nilOption {
		return NewValidationError("Option", "must not be nil")
	}
	for _, f := range []struct {
		field     string
		value     int64
		min, max  int64
		condition bool
	}{
		{"MaxKeySize", int64(o.MaxKeySize), 1, maxKeySizeLimit, true},
		{"MaxValueSize", int64(o.MaxValueSize), 1, maxValueSizeLimit, true},
		{"MaxEntries", int64(o.MaxEntries), 1, 1 << 40, true},
		{"MaxBytes", o.MaxBytes, 0, 1 << 50, true},
		{"ShardCount", int64(o.ShardCount), 1, MaxShards, true},
		{"SyncInterval", int64(o.SyncInterval), 1, int64(time.Hour), !o.SyncWrites},
		{"SnapshotInterval", int64(o.SnapshotInterval), 1, 1 << 62, true},
		{"CompactionThreshold", int64(o.CompactionThreshold), 1, 1 << 40, true},
		{"CompactionBytes", o.CompactionBytes, 0, 1 << 50, true},
		{"CompactionInterval", int64(o.CompactionInterval), 0, 1 << 62, true},
		{"MaxSegmentSize", o.MaxSegmentSize, 4 << 10, 1 << 30, true},
		{"CleanupInterval", int64(o.CleanupInterval), 1, 1 << 62, true},
		{"ReadTimeout", int64(o.ReadTimeout), 0, 1 << 62, true},
	} {
		if f.condition && (f.value < f.min || f.value > f.max) {
			return NewValidationError(f.field, fmt.Sprintf("must be between %d and %d, is %d", f.min, f.max, f.value))
		}
	}
	if o.EvictionPolicy < EvictionNone || o.EvictionPolicy > EvictionTTL {
		return NewValidationError("EvictionPolicy", fmt.Sprintf("%d is unknown", int(o.EvictionPolicy)))
	}
	if o.PersistenceMode < persistenceUnset || o.PersistenceMode > PersistenceFull {
		return NewValidationError("PersistenceMode", fmt.Sprintf("%d is unknown", int(o.PersistenceMode)))
	}
	if o.DataDir == "" && o.PersistenceMode > PersistenceNone {
		return NewValidationError("DataDir", fmt.Sprintf("must be set for persistence mode %s", o.PersistenceMode))
	}
	if o.DataDir != "" && o.PersistenceMode == PersistenceNone {
		return NewValidationError("PersistenceMode", "none leaves the DataDir that is set unused")
	}
	if o.SyncWrites && !o.mode().hasLog() {
		return NewValidationError("SyncWrites", fmt.Sprintf("needs a log, which persistence mode %s has not", o.mode()))
	}
	return nil
}

// WithMaxKeySize bounds a key's length in bytes.
func WithMaxKeySize(size int) Option { return func(o *Options) { o.MaxKeySize = size } }

// WithMaxValueSize bounds a value's length in bytes.
func WithMaxValueSize(size int) Option { return func(o *Options) { o.MaxValueSize = size } }

// WithMaxEntries bounds the number of keys.
func WithMaxEntries(n int) Option { return func(o *Options) { o.MaxEntries = n } }

// WithMaxBytes bounds the bytes of all keys and values together; 0 is no bound.
func WithMaxBytes(n int64) Option { return func(o *Options) { o.MaxBytes = n } }

// WithShardCount sets the number of shards, rounded up to a power of two.
func WithShardCount(n int) Option { return func(o *Options) { o.ShardCount = n } }

// WithEvictionPolicy sets which keys are removed when the store is full.
func WithEvictionPolicy(p EvictionPolicy) Option { return func(o *Options) { o.EvictionPolicy = p } }

// WithPersistenceMode sets what is written to the data directory.
func WithPersistenceMode(m PersistenceMode) Option { return func(o *Options) { o.PersistenceMode = m } }

// WithDataDir sets the data directory, which is made if it is missing.
func WithDataDir(dir string) Option { return func(o *Options) { o.DataDir = dir } }

// WithSyncWrites makes each write sync before it returns; concurrent ones share a
// sync. It needs a mode that has a log.
func WithSyncWrites(sync bool) Option { return func(o *Options) { o.SyncWrites = sync } }

// WithSyncInterval sets how often the log is synced without WithSyncWrites.
func WithSyncInterval(d time.Duration) Option { return func(o *Options) { o.SyncInterval = d } }

// WithSnapshotInterval sets how often a snapshot is taken, with PersistenceSnapshot
// and PersistenceFull.
func WithSnapshotInterval(d time.Duration) Option { return func(o *Options) { o.SnapshotInterval = d } }

// WithCompactionThreshold sets the number of deletes and overwrites after which a
// snapshot is taken early, which shortens the log. A snapshot costs by the size of the
// store, so there are further conditions. There must be as many of them as there are keys.
// The bytes written must be at least CompactionBytes, and at least the size of the next
// snapshot. The last snapshot must have begun CompactionInterval ago. If keys are deleted
// or overwritten, the log nevertheless grows to no more than four times
// max(CompactionBytes, DefaultCompactionBytes, size of the next snapshot), plus the writes
// during that snapshot.
func WithCompactionThreshold(n int) Option { return func(o *Options) { o.CompactionThreshold = n } }

// WithCompactionBytes sets how many bytes must be written before a snapshot is taken
// early; 0 is no bound. See WithCompactionThreshold.
func WithCompactionBytes(n int64) Option { return func(o *Options) { o.CompactionBytes = n } }

// WithCompactionInterval sets how long after a snapshot has begun an early one may
// begin; 0 is no bound. See WithCompactionThreshold.
func WithCompactionInterval(d time.Duration) Option {
	return func(o *Options) { o.CompactionInterval = d }
}

// WithMaxSegmentSize sets the size in bytes at which the log starts a new segment.
func WithMaxSegmentSize(n int64) Option { return func(o *Options) { o.MaxSegmentSize = n } }

// WithCleanupInterval sets how often expired keys are removed.
func WithCleanupInterval(d time.Duration) Option { return func(o *Options) { o.CleanupInterval = d } }

// WithCountReads says whether Metrics count gets, hits and misses, which they do by default.
func WithCountReads(count bool) Option { return func(o *Options) { o.CountReads = count } }

// WithReadTimeout bounds how long a Walk may take; 0 is no bound.
func WithReadTimeout(d time.Duration) Option { return func(o *Options) { o.ReadTimeout = d } }

// WithOnEvict sets a function that is told of each key that was evicted. It must
// not modify the value.
func WithOnEvict(f func(key string, value []byte)) Option { return func(o *Options) { o.OnEvict = f } }

// WithOnExpire sets a function that is told of each key that expired, once; see
// the package's Caveats for crashes. It must not modify the value.
func WithOnExpire(f func(key string, value []byte)) Option {
	return func(o *Options) { o.OnExpire = f }
}

// WithOnError sets a function that is told of failures of background work.
func WithOnError(f func(err error)) Option { return func(o *Options) { o.OnError = f } }

// WithLogger sets the logger, which is told of failures and of the remains of an
// interrupted write. It is told of no single operation.
func WithLogger(l *slog.Logger) Option { return func(o *Options) { o.Logger = l } }

// WithFS sets the filesystem; for tests.
func WithFS(files wal.FS) Option { return func(o *Options) { o.FS = files } }

// WithClock sets the clock that deadlines are measured by; for tests.
func WithClock(now func() time.Time) Option { return func(o *Options) { o.Clock = now } }
