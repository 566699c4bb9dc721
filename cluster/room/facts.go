package room

const (
	// leastEnough and mostEnough are the minimum and the maximum of Facts.enough.
	leastEnough = 8 << 20
	mostEnough  = 64 << 20
	// leastGain is the minimum number of bytes that a snapshot must give back to be worth
	// it while puts are taken.
	leastGain = 16 << 20
)

// Facts is what one look at a disk found, in bytes.
type Facts struct {
	Known     bool  // whether the filesystem tells how much is free
	Free      int64 // on the filesystem
	Total     int64 // of the filesystem; 0 where it does not tell
	Next      int64 // of the next snapshot, with Unapplied
	Unapplied int64 // of the log that the state machine has not applied
	Newest    int64 // of the newest snapshot, 0 for none
	Snapshots int64 // of all snapshots
	Log       int64 // of the log's files
	Ahead     int64 // of the log's files, those that are filled next
	Drops     int64 // of the log's files, those that a snapshot made now would give back
	Covered   int64 // of the log's files, those that the newest snapshot covers
	Ballast   int64 // of the file that an operator may remove, 0 for none

	// Disk.Look sets these, to the maximum of the type where Known is false.
	Put   int64 // room for puts; negative where they may take none
	Rest  int64 // room for everything else that is appended
	Spare int64 // room for a snapshot that is begun now
}

// Needed returns how much must be free for puts to be taken.
func (f *Facts) Needed() int64 { return ReserveBytes + f.Next }

// enough returns how much room puts must have to be taken again once they are refused,
// so that a node does not change its mind with every write. It is bounded whatever the
// state's size: what is free and not used helps nobody.
func (f *Facts) enough() int64 {
	return max(leastEnough, min(f.Needed()/8, mostEnough))
}

// Resumes returns how much must be free for puts to be taken again once they are
// refused.
func (f *Facts) Resumes() int64 { return f.Free + f.enough() - f.Put }

// HasMargin says whether what the node writes without asking has room, as far as that is
// known.
func (f *Facts) HasMargin() bool { return !f.Known || f.Free >= MarginBytes }

// Tight says whether a snapshot beside the newest is too much for the disk. It is where
// puts are refused.
func (f *Facts) Tight() bool { return f.Known && f.Put < max(f.Next, f.enough()) }

// Short says whether the disk will be full soon, where a snapshot is due each time the
// log has grown by interval bytes.
func (f *Facts) Short(interval int64) bool { return f.Known && f.Put < f.Next+interval/2 }

// Ample says whether n bytes can be given to something that the node can do without.
func (f *Facts) Ample(n int64) bool { return f.Put >= 2*f.enough()+2*n }

// WorthSnapshot says whether a snapshot gives back so much room that it is worth it on a
// disk that is short of it. low says that puts are refused, and interval is Short's. It
// is true early, so that writers find room when the snapshot ends.
func (f *Facts) WorthSnapshot(low bool, interval int64) bool {
	if !f.Known {
		return false
	}
	if low {
		return f.gain() >= max(leastGain/4, f.Next/16)
	}
	return f.Short(interval) && f.gain() >= max(leastGain, f.Next/4)
}

// gain returns how much more room puts would have after a snapshot made now. It gives
// back log, and a snapshot: the newest on a tight disk, else the one before, if there
// is one.
func (f *Facts) gain() int64 {
	if f.Tight() {
		return f.Newest + f.Drops - f.Next
	}
	return f.Snapshots - f.Newest + f.Drops - f.Next
}
