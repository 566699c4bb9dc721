package mvcc

// The versions of a key are a chain: each record has the place of the previous one. A read at
// an old revision of a key that changes often would pass over all newer versions. So each
// record in skipEvery has a skip too: the place of another such record further back. Skips
// follow the rule of a skew-binary random-access list (Myers, 1983). A read makes a number of
// hops that grows with the logarithm of the number of newer versions, and about skipEvery
// steps for each hop that would have led too far.

// skipEvery is the number of records of a chain from one with a skip to the next. So skips
// cost a version one byte on average.
const skipEvery = 16

// link is the part of a record that belongs to the chain.
type link struct {
	linked   bool // the record has room for previous
	previous ref
	// step is the number of records since the last one with a skip, modulo skipEvery.
	step    uint8
	skip    ref    // 0 if there is no record to skip to
	skipped uint64 // number of records with a skip that skip passes over, that one included
}

// linkTo returns the link of a record after the one at r, which is its key's newest.
func (a *arena) linkTo(r ref) link {
	l := link{linked: true, previous: r, step: (a.at(r).head().step() + 1) % skipEvery}
	if l.step != 0 {
		return l
	}
	for range skipEvery {
		rec := a.at(r)
		if rec.isZero() { // compacted
			break
		}
		if rec.head().skips() {
			l.skip, l.skipped = a.skipAfter(r)
			break
		}
		r = rec.previous()
	}
	return l
}

// skipAfter returns the skip, and the number of records that it passes over, of the record
// that follows the one at r among those with a skip.
func (a *arena) skipAfter(r ref) (ref, uint64) {
	skip, skipped := a.at(r).skip()
	if far := a.at(skip); !far.isZero() {
		if further, more := far.skip(); more == skipped {
			return further, 2*skipped + 1
		}
	}
	return r, 1
}

// setSkips sets the skips of a chain's records that have one, the newest first. Records of a
// store that is being loaded are made before those that they skip to.
func (a *arena) setSkips(records []ref) {
	for i := len(records) - 2; i >= 0; i-- {
		a.at(records[i]).setSkip(a.skipAfter(records[i+1]))
	}
}

// atRevision returns the newest version that is not newer than a revision among rec and the
// previous ones, the zero record if there is none in memory.
func (a *arena) atRevision(rec record, revision uint64) record {
	for !rec.isZero() && rec.head().revision() > revision {
		rec = a.older(rec, revision)
	}
	return rec
}

// older returns a version before rec, which is newer than a revision: the one to which rec
// skips, if that is newer too, otherwise the previous one. A skip may refer to a record that
// is gone, or dead. Then the version at the revision is newer than that record, unless the
// revision is compacted, which the reader finds out afterwards.
func (a *arena) older(rec record, revision uint64) record {
	if rec.head().skips() {
		skip, _ := rec.skip()
		if far := a.at(skip); !far.isZero() && far.head().revision() > revision {
			return far
		}
	}
	return a.at(rec.previous())
}
