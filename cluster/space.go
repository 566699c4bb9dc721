package cluster

import (
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/kvorum/kvorum/kv"
	"github.com/kvorum/kvorum/wal"
)

const (
	// leastBytes is what must be free for anything to be written at all.
	leastBytes = 1 << 20
	// floorBytes is what stays free for what a node writes without asking: zeros and
	// segment files ahead of the log's end, the manifest, term and vote, the address book.
	floorBytes = wal.AheadBytes + 4<<20
	// reserveBytes is what puts leave free above that, for deletes and the entries that
	// raft and the node itself write.
	reserveBytes = 16 << 20
	// entryOverhead is what a log entry takes on disk beside its commands, at most.
	entryOverhead = 256
	// leastEnough and mostEnough bound how much more room than none puts must have
	// until they are taken again.
	leastEnough = 8 << 20
	mostEnough  = 64 << 20
	// itemOverhead is what a key takes in a snapshot beside key and value, at most.
	itemOverhead = 40
	// snapshotOverhead is what any snapshot takes beside its items, at most.
	snapshotOverhead = 256 << 10
)

// space is the model of a node's disk: it says what may be written before it is
// written, so that no write that a client may send meets a full disk.
//
// What a put needs is there, and stays, while
//
//	free ≥ floor + reserve + next snapshot + outstanding
//
// where
//
//	free           is what the filesystem has left, whatever takes the rest: the log
//	               with its segments made ahead, snapshots, the ballast, others;
//	floor          is what the node writes without asking (floorBytes);
//	reserve        is for deletes and the entries of raft (reserveBytes);
//	next snapshot  is the state as it is now, with what the log holds and the state
//	               machine has not applied, written out; less what is written of it
//	               already, while it is;
//	outstanding    is what was admitted and is not known to be written.
//
// Whatever else is appended, deletes and a leader's entries on a follower, needs
//
//	free ≥ floor + what is left to write of a snapshot that is being written + outstanding
//
// and so does a snapshot before it is begun. What the log's last file has room for
// counts as free, and what fits there altogether is taken on a full disk too. A put is charged twice: it makes the
// log longer, and the next snapshot. An older snapshot and the log that a snapshot
// covers are in no term: they are given up to make room, and free grows by them.
//
// The filesystem is asked once a second, and whenever what it said last is used up.
// Between two looks each admission is subtracted from what the last one found: an
// admission costs a few atomic operations. Others on the disk may take more than
// the reserve between two looks; nothing can protect from that.
type space struct {
	measure func() (diskFacts, error)
	looking chan struct{} // a lock with one slot, held while the disk is looked at

	// admitted only grows, by what was admitted since the start. The limits are what
	// it may grow to by what the last look found.
	admitted  atomic.Int64
	putLimit  atomic.Int64
	restLimit atomic.Int64
	// outstanding is increased before admitted, and decreased once the bytes are
	// written, so that a look misses none.
	outstanding atomic.Int64

	mu    sync.Mutex
	plans []*snapshotPlan // guarded by mu; of the snapshots that are being written

	facts atomic.Pointer[diskFacts] // of the last look; nil before the first
	low   atomic.Bool               // puts are refused because of this disk
}

// diskFacts is what one look at a disk found, in bytes.
type diskFacts struct {
	known     bool  // whether the filesystem tells how much room it has
	free      int64 // on the filesystem
	total     int64 // of the filesystem; 0 where it does not tell
	next      int64 // of the next snapshot, unapplied included
	unapplied int64 // of the log that the state machine has not applied
	newest    int64 // of the newest snapshot, 0 for none
	snapshots int64 // of all snapshots
	log       int64 // of the log's files
	ahead     int64 // of the log's files, what is filled next
	drops     int64 // of the log's files that a snapshot made now would give back
	ballast   int64 // of the file that an operator may remove, 0 for none
	put       int64 // that puts may take; negative where they may take none
	rest      int64 // that all else may take
	spare     int64 // that a snapshot may take which is begun now
}

// snapshotPoint is the last entry that a snapshot covers.
type snapshotPoint struct{ index, term uint64 }

// snapshotPlan is the room that one snapshot has reserved. Each counts for itself what
// is written of it: one that ends must not leave its bytes to another, whose room would
// be given away.
type snapshotPlan struct {
	at      snapshotPoint // of one that the leader sends; zero for one of this node's own state
	bytes   int64
	written int64 // of them, on disk
}

// needed returns how much must be free for puts to be taken.
func (f *diskFacts) needed() int64 { return floorBytes + reserveBytes + f.next }

// enough returns how much room puts must have to be taken again once they are refused,
// so that a node does not change its mind with every write. It is bounded whatever the
// state's size: what is free and not used helps nobody.
func (f *diskFacts) enough() int64 {
	return max(leastEnough, min(f.needed()/8, mostEnough))
}

// resumes returns how much must be free for puts to be taken again once they are
// refused.
func (f *diskFacts) resumes() int64 { return f.free + f.enough() - f.put }

// tight says whether a snapshot more than the newest is too many for the disk. It is
// wherever puts are refused.
func (f *diskFacts) tight() bool { return f.put < max(f.next, f.enough()) }

// gain returns how much more room puts would have after a snapshot made now, by what
// it would have given up: on a tight disk the newest snapshot, else the one before,
// if there is one; and log.
func (f *diskFacts) gain() int64 {
	if f.tight() {
		return f.newest + f.drops - f.next
	}
	return f.snapshots - f.newest + f.drops - f.next
}

// newSpace returns the model of the disk that measure looks at. It is asked for all
// but put, rest and spare.
func newSpace(measure func() (diskFacts, error)) *space {
	return &space{measure: measure, looking: make(chan struct{}, 1)}
}

// look asks the filesystem, and sets the limits by its answer. An error leaves them
// as they are.
func (s *space) look() (*diskFacts, error) {
	s.looking <- struct{}{}
	defer func() { <-s.looking }()
	// In this order: what is admitted behind the first line counts against the limits.
	admitted := s.admitted.Load()
	outstanding := s.outstanding.Load()
	planned, written := s.underWay()
	f, err := s.measure()
	if err != nil {
		return nil, err
	}
	if !f.known {
		f.put, f.rest, f.spare = math.MaxInt64, math.MaxInt64, math.MaxInt64
		s.putLimit.Store(math.MaxInt64)
		s.restLimit.Store(math.MaxInt64)
		s.facts.Store(&f)
		return &f, nil
	}
	f.spare = f.free + f.ahead - floorBytes - (planned - written) - outstanding
	f.rest = f.spare
	if f.free >= leastBytes {
		f.rest = max(f.rest, f.ahead-outstanding)
	}
	f.put = f.free + f.ahead - floorBytes - reserveBytes - (max(f.next, planned) - written) - outstanding
	s.putLimit.Store(admitted + f.put)
	s.restLimit.Store(admitted + f.rest)
	s.facts.Store(&f)
	s.judge(&f)
	return &f, nil
}

// judge sets low. What a node that starts has not applied is in its last snapshot or
// its log already.
func (s *space) judge(f *diskFacts) {
	switch {
	case f.put+f.unapplied < 0:
		s.low.Store(true)
	case f.put >= f.enough():
		s.low.Store(false)
	}
}

// admit reserves n bytes, of a put or of anything else. The caller releases them
// once they are written, or known never to be. The error matches ErrDiskFull.
func (s *space) admit(n int64, put bool) error {
	limit := &s.restLimit
	if put {
		limit = &s.putLimit
	}
	if put && s.low.Load() {
		return s.full(n, put)
	}
	if s.take(n, limit) {
		return nil
	}
	if _, err := s.look(); err != nil {
		return fmt.Errorf("%w: how much room it has is not known: %w", kv.ErrDiskFull, err)
	}
	if s.take(n, limit) {
		return nil
	}
	if put && n <= leastEnough { // not only the large ones are refused
		s.low.Store(true)
	}
	return s.full(n, put)
}

// take admits n bytes if they stay below limit.
func (s *space) take(n int64, limit *atomic.Int64) bool {
	s.outstanding.Add(n)
	for a := s.admitted.Load(); a <= limit.Load()-n; a = s.admitted.Load() {
		if s.admitted.CompareAndSwap(a, a+n) {
			return true
		}
	}
	s.outstanding.Add(-n)
	return false
}

// release ends the reservation of n bytes that were admitted.
func (s *space) release(n int64) { s.outstanding.Add(-n) }

// plan reserves n bytes for a snapshot: one that the leader sends, of the log up to
// at, or one of this node's own state, where at is zero. The caller calls done once it
// is written, or given up. The error matches ErrDiskFull.
func (s *space) plan(n int64, at snapshotPoint) (done func(), err error) {
	plan := &snapshotPlan{at: at, bytes: n}
	s.mu.Lock()
	s.plans = append(s.plans, plan)
	s.mu.Unlock()
	done = func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.plans = slices.DeleteFunc(s.plans, func(p *snapshotPlan) bool { return p == plan })
	}
	f, err := s.look()
	if err == nil && f.spare < 0 {
		err = fmt.Errorf("%w: a snapshot of %s does not fit: %s are free, of which %s stay for the log",
			kv.ErrDiskFull, inBytes(n), inBytes(f.free), inBytes(floorBytes))
	}
	if err != nil {
		done()
		return nil, err
	}
	return done, nil
}

// wrote is told of n bytes that were written of the snapshot of the log up to an entry.
// What no leader has announced is of this node's own.
func (s *space) wrote(index, term uint64, n int) {
	at := snapshotPoint{index, term}
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.plans, func(p *snapshotPlan) bool { return p.at == at })
	if i < 0 {
		i = slices.IndexFunc(s.plans, func(p *snapshotPlan) bool { return p.at == snapshotPoint{} })
	}
	if i >= 0 {
		s.plans[i].written += int64(n)
	}
}

// underWay returns how many bytes are reserved for snapshots, and how many of them are
// written.
func (s *space) underWay() (planned, written int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.plans {
		planned += p.bytes
		written += min(p.written, p.bytes)
	}
	return planned, written
}

// full returns the error for n bytes that there is no room for, with the figures.
func (s *space) full(n int64, put bool) error {
	f := s.facts.Load()
	if put {
		more := n - f.put
		if s.low.Load() {
			more = max(more, f.enough()-f.put)
		}
		return fmt.Errorf("%w: %s are free, %s are needed and %s for this write; puts continue once %s are free: %s",
			kv.ErrDiskFull, inBytes(f.free), inBytes(f.needed()), inBytes(n), inBytes(f.free+max(more, 0)+1<<20), wayOut)
	}
	return fmt.Errorf("%w: %s are free, and %s stay for what the node itself writes: %s",
		kv.ErrDiskFull, inBytes(f.free), inBytes(floorBytes), restWayOut)
}

// wayOut is what an operator can do, in the order to try it in.
const wayOut = "delete keys, run kvorum snapshot, make room on the disk, or remove the file ballast in the data directory; see docs/disk.md"

// restWayOut is what helps where deletes don't fit either.
const restWayOut = "make room on the disk, or remove the file ballast in the data directory; see docs/disk.md"

// inBytes returns n in words.
func inBytes(n int64) string {
	if n < 1<<20 {
		return fmt.Sprintf("%d bytes", n)
	}
	return fmt.Sprintf("%d MiB", n>>20)
}

// snapshotSize returns the most bytes that a snapshot takes on disk of so many keys,
// which have size bytes with their values.
func snapshotSize(keys int, size int64) int64 {
	n := size + int64(keys)*itemOverhead
	return n + n/1024 + snapshotOverhead
}

// leastDisk returns the least size of a disk for a node whose newest and next
// snapshot have so many bytes: both of them, what is reserved, and two segments.
func leastDisk(total, newest, next int64) int64 {
	return floorBytes + reserveBytes + newest + next + 2*segmentSize(total)
}

// segmentSize returns how large the log's segments are on a disk of total bytes, 0
// for one that does not tell: whole segments are what gives room back, so that a
// small disk has small ones.
func segmentSize(total int64) int64 {
	const least, share = 4 << 20, 32
	size := int64(wal.DefaultMaxSegmentSize)
	for total > 0 && size > least && size > total/share {
		size /= 2
	}
	return size
}
