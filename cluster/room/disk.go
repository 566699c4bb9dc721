package room

import (
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/kvorum/kvorum/kv"
)

const (
	// leastBytes is the number of bytes that must be free for anything to be written at all.
	leastBytes = 1 << 20
	// lookEvery is the maximum number of bytes that are admitted, or written of a snapshot, after
	// a look at the disk before the next one. A file of the log may end before it is full, because the next entry does
	// not fit: only a look finds how many bytes that took.
	lookEvery = 8 << 20
)

// wayOut is what an operator can do, in the order to try it in.
const wayOut = "delete keys, run kvorum snapshot, make room on the disk, or remove the file ballast in the data directory; see docs/disk.md"

// restWayOut is what helps where deletes do not fit either.
const restWayOut = "make room on the disk, or remove the file ballast in the data directory; see docs/disk.md"

// Disk is the model of a node's disk. It says what may be written before it is written,
// so that no write that a client may send meets a full disk. The package comment has
// the model.
//
// The filesystem is asked once a second, each time that 8 MiB were admitted or written of a snapshot, and whenever what
// it said last is used up. Between two looks each admission is subtracted from what the last one found: an
// admission takes a few atomic operations. All methods are safe for concurrent use.
type Disk struct {
	measure func() (Facts, error)
	looking chan struct{} // a lock with one slot, held while the disk is looked at

	// admitted only grows, by what was admitted since the start. The limits are what
	// it may grow to by what the last look found.
	admitted    atomic.Int64
	putLimit    atomic.Int64
	restLimit   atomic.Int64
	intakeLimit atomic.Int64
	lookLimit   atomic.Int64 // the admission beyond this one looks first
	// outstanding is increased before admitted, and decreased once the bytes are
	// written, so that a look misses none.
	outstanding atomic.Int64

	mu    sync.Mutex
	plans []*snapshotPlan // guarded by mu; of the snapshots that are being written

	facts    atomic.Pointer[Facts] // of the last look; nil before the first
	low      atomic.Bool           // puts are refused because of this disk
	waits    atomic.Bool           // an intake waits for a snapshot
	pass     atomic.Bool           // the next intake does not wait for one
	reported reported
}

// Point is the last entry that a snapshot covers.
type Point struct{ Index, Term uint64 }

// snapshotPlan is what is set aside for one snapshot. Each counts for itself what
// is written of it: one that ends must not leave its bytes to another, whose room would
// be given away.
type snapshotPlan struct {
	at      Point // of one that the leader sends; zero for one of this node's own state
	bytes   int64
	written int64 // of them, on disk
	gives   int64 // what is removed when it is written; 0 where that is not known
}

// NewDisk returns the model of the disk that measure looks at. A measure sets all fields
// but Put, Rest and Spare. It is called by one goroutine at a time.
func NewDisk(measure func() (Facts, error)) *Disk {
	return &Disk{measure: measure, looking: make(chan struct{}, 1)}
}

// Facts returns what the last look found, nil before the first. It must not be modified.
func (d *Disk) Facts() *Facts { return d.facts.Load() }

// Low says whether puts are refused because of this disk.
func (d *Disk) Low() bool { return d.low.Load() }

// Admitted returns how many bytes were admitted since the start.
func (d *Disk) Admitted() int64 { return d.admitted.Load() }

// Settled returns how many of the admitted bytes are released, at least.
func (d *Disk) Settled() int64 { return d.admitted.Load() - d.outstanding.Load() }

// Look asks the filesystem, and sets the limits by its answer. The result must not be
// modified. An error is the measure's, and leaves the limits as they are.
func (d *Disk) Look() (*Facts, error) {
	d.looking <- struct{}{}
	defer func() { <-d.looking }()
	// In this order: what is admitted behind the first line counts against the limits.
	admitted := d.admitted.Load()
	outstanding := d.outstanding.Load()
	planned, written, gives := d.underWay()
	f, err := d.measure()
	if err != nil {
		return nil, err
	}
	if !f.Known {
		f.Put, f.Rest, f.Spare = math.MaxInt64, math.MaxInt64, math.MaxInt64
		for _, limit := range []*atomic.Int64{&d.putLimit, &d.restLimit, &d.intakeLimit, &d.lookLimit} {
			limit.Store(math.MaxInt64)
		}
		d.facts.Store(&f)
		return &f, nil
	}
	f.Spare = f.Free + f.Ahead - MarginBytes - (planned - written) - outstanding
	f.Rest = f.Spare
	if f.Free >= leastBytes {
		f.Rest = max(f.Rest, f.Ahead-outstanding)
	}
	f.Put = f.Free + f.Ahead - ReserveBytes - (max(f.Next, planned) - written) - outstanding
	d.putLimit.Store(admitted + f.Put)
	d.restLimit.Store(admitted + f.Rest)
	d.intakeLimit.Store(admitted + (f.intake(gives)-outstanding)/2)
	d.lookLimit.Store(admitted + lookEvery)
	d.facts.Store(&f)
	d.judge(&f)
	return &f, nil
}

// judge sets low. What a node that starts has not applied is in its last snapshot or
// its log already.
func (d *Disk) judge(f *Facts) {
	switch {
	case f.Put+f.Unapplied < 0:
		d.low.Store(true)
	case f.Put >= f.enough():
		d.low.Store(false)
	}
}

// Admit sets n bytes aside, for a put or for anything else that is appended. The caller
// releases them once they are written, or are known never to be. The error matches
// kv.ErrDiskFull.
func (d *Disk) Admit(n int64, put bool) error {
	limit := &d.restLimit
	if put {
		limit = &d.putLimit
	}
	if put && d.low.Load() {
		return d.full(n, put)
	}
	if took, err := d.takeOrLook(n, limit); took || err != nil {
		return err
	}
	if put && n <= leastEnough { // not only the large ones are refused
		d.low.Store(true)
	}
	return d.full(n, put)
}

// takeOrLook admits n bytes if they stay below limit, if need be after a look. The error is
// that of a look.
func (d *Disk) takeOrLook(n int64, limit *atomic.Int64) (took bool, err error) {
	if d.admitted.Load() <= d.lookLimit.Load()-n && d.take(n, limit) {
		return true, nil
	}
	_, err = d.Look()
	if d.take(n, limit) { // the last look allowed it if this one failed
		return true, nil
	}
	if err != nil {
		err = fmt.Errorf("%w: how much room it has is not known: %w", kv.ErrDiskFull, err)
	}
	return false, err
}

// take admits n bytes if they stay below limit.
func (d *Disk) take(n int64, limit *atomic.Int64) bool {
	d.outstanding.Add(n)
	for a := d.admitted.Load(); a <= limit.Load()-n; a = d.admitted.Load() {
		if d.admitted.CompareAndSwap(a, a+n) {
			return true
		}
	}
	d.outstanding.Add(-n)
	return false
}

// Release ends the setting aside of n bytes that were admitted.
func (d *Disk) Release(n int64) { d.outstanding.Add(-n) }

// PlanSnapshot sets n bytes aside for a snapshot. It is one that the leader sends, of the
// log up to at, or one of this node's own state, where at is zero. The caller calls done
// once the snapshot is written, or abandoned. The error matches kv.ErrDiskFull, or is
// the measure's.
func (d *Disk) PlanSnapshot(n int64, at Point) (done func(), err error) {
	plan := &snapshotPlan{at: at, bytes: n}
	d.mu.Lock()
	d.plans = append(d.plans, plan)
	d.mu.Unlock()
	done = func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.plans = slices.DeleteFunc(d.plans, func(p *snapshotPlan) bool { return p == plan })
	}
	f, err := d.Look()
	if err == nil && f.Spare < 0 {
		err = fmt.Errorf("%w: a snapshot of %s does not fit: %s are free, of which %s stay for the log",
			kv.ErrDiskFull, InBytes(n), InBytes(f.Free), InBytes(MarginBytes))
	}
	if err != nil {
		done()
		return nil, err
	}
	if at == (Point{}) {
		d.mu.Lock()
		plan.gives = f.Newest + f.Drops
		d.mu.Unlock()
	}
	return done, nil
}

// Wrote is told of n bytes that were written of the snapshot of the log up to an entry.
// A snapshot that no leader has announced is of this node's own state. The error matches
// kv.ErrDiskFull: another program has taken the room for the rest of the snapshot, which must
// be removed. To finish it would take the last room of the log too.
func (d *Disk) Wrote(index, term uint64, n int) error {
	if !d.noteWritten(Point{index, term}, int64(n)) {
		return nil
	}
	f, err := d.Look()
	if err != nil || !f.Known {
		return nil // not known: the write itself will fail if there is no room
	}
	planned, written, _ := d.underWay()
	if left := planned - written; f.Free-left < leastBytes {
		return fmt.Errorf("%w: another program took the room for a snapshot: %s are free, and %s are still to be written",
			kv.ErrDiskFull, InBytes(f.Free), InBytes(left))
	}
	return nil
}

// noteWritten adds n bytes to what is written of a snapshot. It reports whether the disk is to be
// looked at again.
func (d *Disk) noteWritten(at Point, n int64) (look bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	i := slices.IndexFunc(d.plans, func(p *snapshotPlan) bool { return p.at == at })
	if i < 0 {
		i = slices.IndexFunc(d.plans, func(p *snapshotPlan) bool { return p.at == Point{} })
	}
	if i < 0 {
		return false
	}
	p := d.plans[i]
	before := p.written
	p.written += n
	return before/lookEvery != p.written/lookEvery
}

// underWay returns how many bytes are set aside for snapshots, how many of them are written,
// and how many bytes the snapshots give back when they are written.
func (d *Disk) underWay() (planned, written, gives int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, p := range d.plans {
		planned += p.bytes
		written += min(p.written, p.bytes)
		gives += p.gives
	}
	return planned, written, gives
}

// full returns the error for n bytes that there is no room for, with the figures.
func (d *Disk) full(n int64, put bool) error {
	f := d.facts.Load()
	if put {
		more := n - f.Put
		if d.low.Load() {
			more = max(more, f.enough()-f.Put)
		}
		return fmt.Errorf("%w: %s are free, %s are needed and %s for this write; puts continue once %s are free: %s",
			kv.ErrDiskFull, InBytes(f.Free), InBytes(f.Needed()), InBytes(n), InBytes(f.Free+max(more, 0)+1<<20), wayOut)
	}
	return fmt.Errorf("%w: %s are free, and %s stay for what the node itself writes: %s",
		kv.ErrDiskFull, InBytes(f.Free), InBytes(MarginBytes), restWayOut)
}
