// Package loglimit limits the lines that a program writes into its log again and again.
//
// A line is about a subject, a string that its writer chooses: the name of a peer that
// can't be reached, for instance. The first line about a subject is written at once, and
// repeated ones at growing intervals.
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
	// window is the length of the period to which maxLines applies.
	window = 10 * time.Second
	// defaultEvery and defaultMost are the values of a Limiter's zero fields.
	defaultEvery = time.Second
	defaultMost  = 5 * time.Minute
)

// Limiter allows the first line about a subject at once, and repetitions at intervals
// that double, from Every to Most. After three of its intervals without a line, a subject
// starts from the beginning. The zero value is ready for use. A Limiter is safe for
// concurrent use.
//
// A subject may be over (see Over): its trouble has ended. If the trouble returns soon,
// the subject keeps its interval. So a subject that flaps has two lines in each interval.
type Limiter struct {
	// Every is the first interval between two lines about one subject; 0 is a
	// second. Most is the longest; 0 is five minutes, or Every if that is more.
	// They must not change.
	Every, Most time.Duration

	mu       sync.Mutex
	subjects map[string]*subject // guarded by mu
	opened   time.Time           // guarded by mu; start of the present window
	lines    int                 // guarded by mu; number of lines in the present window
	overflow int                 // guarded by mu; number of lines left out by maxLines since the last line
}

// subject is the state of one subject.
type subject struct {
	began   time.Time     // of the first line of the present trouble
	last    time.Time     // of the newest line, left out or not
	next    time.Time     // the earliest time of the next line
	wait    time.Duration // interval between the last line and next
	leftOut int           // number of lines since the last allowed one
	over    bool          // the trouble has ended
	told    bool          // a line about the present trouble was allowed
}

// Allow reports whether a line about a subject may be logged now, and the number of lines
// left out since the last one.
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

// Over reports to the limiter that a subject's trouble has ended. It returns the time since
// the first line about it, and the number of lines left out since the last one. It returns
// false if no line about the present trouble was allowed.
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

// makeRoomLocked forgets the subjects whose next line is allowed already. If there are
// none, it forgets any one.
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
