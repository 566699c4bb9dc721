package room

import (
	"sync"
	"time"
)

// Report is what a node tells its leader of its room.
type Report struct {
	LowDisk bool        `json:"low_disk"`         // puts are refused because of its disk
	Disk    *DiskRoom   `json:"disk,omitempty"`   // nil where its disk does not tell
	Memory  *MemoryRoom `json:"memory,omitempty"` // nil where it has no plan
}

// NoPuts says whether the node has no room for puts on its disk.
func (r *Report) NoPuts() bool { return r.LowDisk || r.Disk != nil && r.Disk.Put <= 0 }

// DiskRoom is what a node tells its leader of its disk, in bytes.
type DiskRoom struct {
	Put       int64  `json:"put"`        // that puts may take, with the snapshot that they make longer
	Rest      int64  `json:"rest"`       // that anything may take
	LastIndex uint64 `json:"last_index"` // of its log
}

// reported is the newest answer of Disk.Report.
type reported struct {
	mu   sync.Mutex
	at   time.Time
	room *DiskRoom
}

// Report returns what this node tells its leader, nil where the disk does not tell.
// lastIndex returns the last index of the node's log.
//
// An answer is given again for AskPause: peers ask every few milliseconds while leadership
// is handed over, and each look is two calls of the filesystem. It goes with the end of
// the log that it was found with, so that what was appended since counts as lacking.
func (d *Disk) Report(lastIndex func() (uint64, error)) *DiskRoom {
	d.reported.mu.Lock()
	at, room := d.reported.at, d.reported.room
	d.reported.mu.Unlock()
	if !at.IsZero() && time.Since(at) < AskPause {
		return room
	}
	at, room = time.Now(), d.lookForRoom(lastIndex) // outside of the lock: the disk may hang
	d.reported.mu.Lock()
	defer d.reported.mu.Unlock()
	d.reported.at, d.reported.room = at, room
	return room
}

func (d *Disk) lookForRoom(lastIndex func() (uint64, error)) *DiskRoom {
	last, err := lastIndex() // first: what is appended meanwhile counts twice
	if err != nil {
		return nil
	}
	f, err := d.Look()
	if err != nil || !f.Known {
		return nil
	}
	room := &DiskRoom{Put: f.Put, Rest: f.Rest, LastIndex: last}
	if d.low.Load() {
		room.Put = min(room.Put, -1)
	}
	return room
}
