package raftstore

import (
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"
	"github.com/kvorum/kvorum/internal/entry"
	"github.com/kvorum/kvorum/wal"
)

const (
	// ageStep is the least time between two entries whose time is remembered.
	ageStep = time.Second
	// maxAges bounds how many are.
	maxAges = 1024
)

// logAges remembers when some of the log's entries were made, so that the age of the
// oldest one is known without a look at the disk. The zero value is ready.
type logAges struct {
	mu   sync.Mutex
	made []entryTime // guarded by mu; by index
}

type entryTime struct {
	index uint64
	at    time.Time
}

// note takes in an entry that was appended. The very first one, the configuration
// that a cluster begins with, does not say when it was made, nor may others.
func (a *logAges) note(log *raft.Log) {
	if log.AppendedAt.IsZero() {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	// An entry that takes the place of others makes what is known of them wrong.
	for n := len(a.made); n > 0 && a.made[n-1].index >= log.Index; n-- {
		a.made = a.made[:n-1]
	}
	if n := len(a.made); n > 0 && log.AppendedAt.Sub(a.made[n-1].at) < ageStep {
		return
	}
	if len(a.made) == maxAges { // half of them will do
		for i := range maxAges / 2 {
			a.made[i] = a.made[2*i]
		}
		a.made = a.made[:maxAges/2]
	}
	a.made = append(a.made, entryTime{log.Index, log.AppendedAt})
}

// oldest returns when the entry at first was made, or one not far before it, and the
// zero time where that is not known.
func (a *logAges) oldest(first uint64) time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	i, found := slices.BinarySearchFunc(a.made, first, func(e entryTime, index uint64) int {
		switch {
		case e.index < index:
			return -1
		case e.index > index:
			return 1
		}
		return 0
	})
	if !found && i > 0 {
		i--
	}
	a.made = slices.Delete(a.made, 0, min(i, len(a.made)))
	if first == 0 || len(a.made) == 0 {
		return time.Time{}
	}
	return a.made[0].at
}

// load notes the oldest and the newest entry of a log that was just opened: those
// that are made from now on are noted as they come.
func (a *logAges) load(log *wal.WAL) error {
	first, last := log.FirstIndex(), log.LastIndex()
	if first == 0 {
		return nil
	}
	for _, index := range []uint64{first, first + 1, first + 2, last} {
		if index > last {
			break
		}
		frame, err := log.Get(index)
		if err != nil {
			return err
		}
		if e, err := entry.Decode(frame.Payload); err == nil {
			a.note(&e)
		}
	}
	return nil
}
