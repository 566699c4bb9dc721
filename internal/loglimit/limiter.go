// Package loglimit keeps lines that repeat from filling a log.
package loglimit

import (
	"sync"
	"time"
)

const (
	// maxSubjects is the maximum number of subjects that a Limiter remembers.
	maxSubjects = 256
	// maxLines is the maximum number of lines, about all subjects together, in one window.
	maxLines = 32
	// window is the period that maxLines holds for.
	window = 10 * time.Second
	// defaultEvery and defaultMost are the values of a Limiter's zero fields.
	defaultEvery = time.Second
	defaultMost  = 5 * time.Minute
)

// Limiter lets the first line about a subject through at once, and repetitions
// at intervals that double, from Every to Most. A subject that was quiet for
// three of its intervals begins again. Its zero value is ready, and it is safe
// for concurrent use.
//
// A subject that is well again (Over) and soon is not, keeps its interval: what
// flaps has two lines in each of them.
type Limiter struct {
	// Every is the first interval between two lines about one subject; 0 is a
	// second. Most is the longest; 0 is five minutes, or Every if that is more.
	// They must not change.
	Every, Most time.Duration

	mu       sync.Mutex
	subjects map[string]*subject // guarded by mu
	opened   time.Time           // guarded by mu; when the present window began
	lines    int                 // guarded by mu; in the present window
	overflow int                 // guarded by mu; lines left out by maxLines since the last line
}

// subject is what lines are about.
type subject struct {
	began   time.Time     // of the first of the lines
	last    time.Time     // of the newest, left out or not
	next    time.Time     // when the next line may come
	wait    time.Duration // that led to next
	leftOut int           // lines since the last one that was let through
	over    bool          // it is well again, and began is of the time before
	told    bool          // a line was let through since it was well
}

// Allow reports whether a line about a subject may be logged now, and how many
// were left out since the last one.
func (l *Limiter) Allow(about string) (leftOut int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	s := l.subjects[about]
	if s == nil || now.Sub(s.last) >= 3*s.wait {
		if s == nil {
			l.makeRoomLocked(now)
		}
		s = &subject{began: now, next: now}
		l.subjects[about] = s
	}
	s.last = now
	if s.over {
		s.began, s.over, s.told = now, false, false
	}
	if now.Before(s.next) {
		s.leftOut++
		return 0, false
	}
	if !l.takeLocked(now) {
		s.leftOut++
		l.overflow++
		return 0, false
	}
	leftOut, s.leftOut = s.leftOut, 0
	if leftOut == 0 {
		leftOut, l.overflow = l.overflow, 0 // of other subjects, which may never have a line of their own
	}
	s.wait = min(max(2*s.wait, l.every()), l.most())
	s.next = now.Add(s.wait)
	s.told = true
	return leftOut, true
}

// Over says that what the lines about a subject report is well again. It returns
// how long ago the first of them was and how many were left out since the last
// one, and false if none was let through since the subject was well.
func (l *Limiter) Over(about string) (after time.Duration, leftOut int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.subjects[about]
	if s == nil || s.over {
		return 0, 0, false
	}
	s.over = true
	if !s.told {
		return 0, 0, false
	}
	leftOut, s.leftOut = s.leftOut, 0
	return time.Since(s.began), leftOut, true
}

func (l *Limiter) every() time.Duration {
	if l.Every == 0 {
		return defaultEvery
	}
	return l.Every
}

func (l *Limiter) most() time.Duration {
	if l.Most == 0 {
		return max(defaultMost, l.every())
	}
	return max(l.Most, l.every())
}

// takeLocked reports whether the present window has room for a line.
func (l *Limiter) takeLocked(now time.Time) bool {
	if now.Sub(l.opened) >= window {
		l.opened, l.lines = now, 0
	}
	if l.lines >= maxLines {
		return false
	}
	l.lines++
	return true
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
