package nemesis

import (
	"context"
	"slices"
	"time"
)

// Fault is one way to break a cluster.
type Fault struct {
	Name string
	// Rows are the rows of the table of faults in docs/reliability.md that the fault
	// covers.
	Rows []int
	// Majority is set if a majority can serve during the fault: its voters run and write to
	// their disks, and two of them hear each other in both directions within the timings.
	// After the heal of any fault a majority can serve.
	Majority bool
	// May are texts in the end of a log. Any of them excuses a process with this fault that
	// ends by itself.
	May []string
	// MayBeKilled is set if the kernel may end a process with this fault.
	MayBeKilled bool

	takes  takes // things that no other fault may need at the same time
	spares bool  // processes survive it
	long   bool  // it takes long, so it is drawn rarely
	lasts  span  // limits of its duration
	// terms is the number of elections that it may cause; each may take a few terms.
	terms int
	// missing returns the reason why a place is known not to have this fault; "" if it
	// should have it. nil means that all places should.
	missing func(place Place) string
	// start makes the fault. It gives the undo of each change to act.undo before it makes
	// the change.
	start func(ctx context.Context, act *Act) error
}

// Place describes the lab in which faults are made, as far as it is known without an
// attempt.
type Place struct {
	Kind     string // of the lab
	Nodes    int    // number of nodes that form the cluster
	Spare    int    // hosts beside them
	OneWay   bool   // partitions may be of one direction
	OwnDisks bool   // each host has a disk of its own, which can be full or lose unsynced data
}

// takes are the things that a fault needs for itself.
type takes uint8

// Things that a fault may need for itself. Two faults are not combined if they need the
// same thing, or if one needs everyHost and the other oneHost.
const (
	oneHost   takes = 1 << iota // one host, chosen among those without another fault
	everyHost                   // the processes of all, or of more than a minority
	network                     // the network between hosts: a Lab heals all of it at once
	members                     // the membership
)

// span has the limits of a random time.
type span struct{ least, most time.Duration }

// Missing returns the reason why a place is known not to have this fault, "" if it should
// have it.
func (f *Fault) Missing(place Place) string {
	if f.missing == nil {
		return ""
	}
	return f.missing(place)
}

// Spares reports whether processes survive the fault.
func (f *Fault) Spares() bool { return f.spares }

// Lasting returns the fault with other limits of its duration.
func (f *Fault) Lasting(least, most time.Duration) *Fault {
	other := *f
	other.lasts = span{least, most}
	return &other
}

// with reports whether the fault may be made at the same time as others in a cluster of
// that many nodes: they need different things, and after their heals there is a majority.
func (f *Fault) with(others []*Fault, nodes int) bool {
	hosts := 0
	all := append(slices.Clone(others), f)
	var taken takes
	for _, o := range all {
		if o.Name == f.Name && o != f || taken&o.takes&^oneHost != 0 {
			return false
		}
		taken |= o.takes
		if o.takes&oneHost != 0 {
			hosts++
		}
	}
	return slices.Index(others, f) < 0 && hosts < nodes && (hosts == 0 || taken&everyHost == 0)
}

// All returns all faults, in the order of the table in docs/reliability.md.
func All() []*Fault {
	return slices.Concat(processFaults(), partitionFaults(), linkFaults(), diskFaults(), machineFaults(), memberFaults())
}

// Find returns the fault with a name, nil for none.
func Find(name string) *Fault { return named(All(), name) }

func named(faults []*Fault, name string) *Fault {
	for _, f := range faults {
		if f.Name == name {
			return f
		}
	}
	return nil
}
