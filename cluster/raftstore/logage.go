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
	// ageStep is the minimum time between two entries whose time is remembered.
	ageStep = time.Second
	// maxAges is the maximum number of entries whose time is remembered.
	maxAges = 1024
)

// logAges remembers the times at which some of the log's entries were made. So the age of
// the oldest one is known without reading the disk. The zero value is ready for use.
type logAges struct {
	mu   sync.Mutex
	made []entryTime // guarded by mu; by index
}

type entryTime struct {
	index uint64
	at    time.Time
}

// note remembers the time of an appended entry. Some entries have none: the first one of
// a cluster, which is its first configuration, and perhaps others.
func (a *logAges) note(log *raft.Log) {
	if log.AppendedAt.IsZero() {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	// The entry replaces those with its index or a greater one.
	for n := len(a.made); n > 0 && a.made[n-1].index >= log.Index; n-- {
		a.made = a.made[:n-1]
	}
	if n := len(a.made); n > 0 && log.AppendedAt.Sub(a.made[n-1].at) < ageStep {
		return
	}
	if len(a.made) == maxAges { // every second one is dropped
		for i := range maxAges / 2 {
			a.made[i] = a.made[2*i]
		}
		a.made = a.made[:maxAges/2]
	}
	a.made = append(a.made, entryTime{log.Index, log.AppendedAt})
}

// oldest returns the time at which the entry at first was made, or one shortly before
// it. It is the zero time if that is not known.
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

// load remembers the times of the oldest and the newest entry of a log that was just
// opened. Later entries are noted when they are appended.
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
