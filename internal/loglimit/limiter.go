// Package loglimit keeps what goes on and on from filling a log.
package loglimit

import (
	"sync"
	"time"
)

// maxSubjects bounds what a Limiter remembers, however many things go wrong.
const maxSubjects = 256

// Limiter lets the first line about something through at once, and after that one
// in a while. Its zero value lets one a second through. It is safe for concurrent
// use.
type Limiter struct {
	// Every is the least time between two lines about one subject; 0 is a second.
	// It must not change.
	Every time.Duration

	mu       sync.Mutex
	subjects map[string]*subject // guarded by mu
}

// subject is something that lines are about.
type subject struct {
	next    time.Time // when the next line may come
	leftOut int       // since the last one
}

// Allow reports whether a line about something may be logged now, and how many
// were left out since the last one.
func (l *Limiter) Allow(about string) (leftOut int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	s := l.subjects[about]
	if s == nil {
		l.makeRoomLocked(now)
		s = new(subject)
		l.subjects[about] = s
	}
	if now.Before(s.next) {
		s.leftOut++
		return 0, false
	}
	leftOut, s.leftOut = s.leftOut, 0
	s.next = now.Add(l.every())
	return leftOut, true
}

func (l *Limiter) every() time.Duration {
	if l.Every == 0 {
		return time.Second
	}
	return l.Every
}

// makeRoomLocked forgets the subjects whose next line may come anyway, and any one
// if that is not enough.
func (l *Limiter) makeRoomLocked(now time.Time) {
	if l.subjects == nil {
		l.subjects = make(map[string]*subject)
	}
	if len(l.subjects) < maxSubjects {
		return
	}
	for about, s := range l.subjects {
		if !now.Before(s.next) {
			delete(l.subjects, about)
		}
	}
	for about := range l.subjects {
		if len(l.subjects) < maxSubjects {
			return
		}
		delete(l.subjects, about)
	}
}
