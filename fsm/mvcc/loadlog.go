package mvcc

import "fmt"

// loadedChange is a change of the log.
type loadedChange struct {
	revision uint64
	order    uint32
	ref      ref
}

// idleRevisions is the number of revisions without changes for which the revision log of a
// loaded store has memory at least. A history has two: its first one, and the one that a
// CompactAll takes.
const idleRevisions = 1 << 10

// fillLog makes the revision log. It is a counting sort, because a snapshot has all changes
// of its revisions, and those of a revision have the orders 0, 1, 2 and so on: a change's
// position is the number of changes of lower revisions, and its order. So the cost of a
// change does not depend on their number.
func (l *Loader) fillLog() error {
	first, n := l.options.CompactRevision, uint64(0)
	for _, r := range l.runs {
		n += uint64(len(r.log))
	}
	if n == 0 {
		return nil
	}
	last := l.options.Revision - first
	if last > 2*n+idleRevisions { // memory for them is not taken on trust
		return fmt.Errorf("%w: %d changes in revisions %d to %d", ErrInvalidVersion, n, first, l.options.Revision)
	}
	starts := make([]uint64, last+2) // the position of each revision's first change
	for _, r := range l.runs {
		for _, c := range r.log {
			starts[c.revision-first+1]++
		}
	}
	for i := range last + 1 {
		starts[i+1] += starts[i]
	}
	log := &l.s.log
	log.reserve(n)
	for _, r := range l.runs {
		for _, c := range r.log {
			at := starts[c.revision-first] + uint64(c.order)
			if at >= starts[c.revision-first+1] || !log.set(at, c.ref) {
				return fmt.Errorf("%w: the changes of revision %d have wrong orders", ErrInvalidVersion, c.revision)
			}
		}
		r.log = nil
	}
	return nil
}
