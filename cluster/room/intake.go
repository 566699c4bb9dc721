package room

import (
	"fmt"

	"github.com/kvorum/kvorum/kv"
)

// intakeSlack is the number of bytes that an intake leaves beside the next snapshot. The log's
// files may take so much more between two looks than was admitted: a new file takes its room at
// once, and the previous one may not be full.
const intakeSlack = 8 << 20

// AdmitIntake sets n bytes aside for entries that the leader sends. Its caller releases them
// like those of Admit. Each byte counts for the log and for the next snapshot: if they leave no
// room for that snapshot, they wait for it, as long as it gives room back. The error matches
// kv.ErrDiskFull; if the entries wait, Waits is true.
func (d *Disk) AdmitIntake(n int64) error {
	pass := d.pass.Swap(false)
	if took, err := d.takeOrLook(n, &d.intakeLimit); took || err != nil {
		return err
	}
	f := d.facts.Load()
	planned, _, _ := d.underWay()
	if pass || planned == 0 && !f.makesRoom() {
		return d.Admit(n, false)
	}
	d.waits.Store(true)
	return fmt.Errorf("%w: %s are free: a snapshot is taken before %s of entries would leave no room for it",
		kv.ErrDiskFull, InBytes(f.Free), InBytes(n))
}

// Waits says whether an intake was refused because a snapshot, or the removal of what one covers,
// is to make room first. It forgets it: the caller acts on it, and calls Acted.
func (d *Disk) Waits() bool { return d.waits.Swap(false) }

// Acted is told that an attempt to make room has ended, and whether it made a snapshot. If it
// did, an intake that was refused meanwhile is no reason for another one. If it did not, the
// next intake does not wait: it may be just what a snapshot needs, and no follower waits for
// ever.
func (d *Disk) Acted(snapshot bool) {
	d.pass.Store(!snapshot)
	if snapshot {
		d.waits.Store(false)
	}
}

// intake returns how many bytes entries may take, with what they add to the next snapshot, so
// that this one still has room. gives is what a snapshot that is being written gives back: the
// next one may use that.
func (f *Facts) intake(gives int64) int64 {
	room := f.Put + ReserveBytes - MarginBytes
	if gives > 0 {
		room = max(room, min(f.Spare+gives-f.Next, 2*f.Spare))
	}
	return room - intakeSlack
}

// makesRoom says whether there is something to gain for an intake: by removing what the newest
// snapshot covers, or by a snapshot that fits now.
func (f *Facts) makesRoom() bool { return f.idle() >= leastGain/4 || f.WorthForIntake() }

// idle returns how many bytes can be removed without a snapshot.
func (f *Facts) idle() int64 { return f.Covered + f.Snapshots - f.Newest }

// WorthForIntake says whether a snapshot fits now and gives room back, however little. It is
// for a disk on which there may be no room for one after the next entries.
func (f *Facts) WorthForIntake() bool {
	return f.Spare >= f.Next && f.Newest+f.Drops-f.Next >= leastGain/4
}
