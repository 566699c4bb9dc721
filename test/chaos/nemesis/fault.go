package nemesis

import (
	"context"
	"slices"
	"time"
)

// Fault is one way to break a cluster.
type Fault struct {
	Name string
	// Rows are the rows of the table of faults in docs/reliability.md that it covers.
	Rows []int
	// Majority says that a majority of the voters runs, writes to its disks, and has
	// two of its members hear each other in both directions within the timings, while
	// the fault lasts. After the heal, a majority does after every fault.
	Majority bool
	// May are texts in the end of a log, one of which excuses a process that the fault
	// is on from ending by itself.
	May []string
	// MayBeKilled says that the kernel may end a process that the fault is on.
	MayBeKilled bool

	takes  takes // what no other fault may take at the same time
	spares bool  // processes live through it
	long   bool  // it takes so long that it is drawn rarely
	lasts  span  // how long it lasts before it is healed
	// terms is how many elections it may cause; each may take a few tries.
	terms int
	// missing returns why a kind of lab, with so many hosts, is known not to have this
	// fault; "" where it should. nil is never.
	missing func(place Place) string
	// start makes it. What it has begun it gives to act.undo, before it begins it.
	start func(ctx context.Context, act *Act) error
}

// Place is where faults are made, as far as is known without trying.
type Place struct {
	Kind     string // of the lab
	Nodes    int    // that form the cluster
	Spare    int    // hosts beside them
	OneWay   bool   // partitions may be of one direction
	OwnDisks bool   // each host has a disk of its own, which can be full or lose what was not synced
}

// takes is what a fault needs for itself.
type takes uint8

// What a fault may need for itself. Two faults that need one thing, or both of
// everyHost and oneHost, are not combined.
const (
	oneHost   takes = 1 << iota // one host, which it chooses among those that no other fault has
	everyHost                   // the processes of all, or of more than a minority
	network                     // the network between hosts: a Lab heals all of it at once
	members                     // who is a member
)

// span bounds a random time.
type span struct{ least, most time.Duration }

// Missing returns why a place is known not to have this fault, "" where it should.
func (f *Fault) Missing(place Place) string {
	if f.missing == nil {
		return ""
	}
	return f.missing(place)
}

// Spares says whether processes live through the fault.
func (f *Fault) Spares() bool { return f.spares }

// Lasting returns the fault with other bounds of how long it lasts.
func (f *Fault) Lasting(least, most time.Duration) *Fault {
	other := *f
	other.lasts = span{least, most}
	return &other
}

// with says whether both may be made at once in a cluster of so many nodes: neither
// is in the other's way, and what each gives back in the end makes a majority.
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
