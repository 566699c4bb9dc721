package loglimit

import (
	"context"
	"log/slog"
	"time"
)

// leftOutKey is the name of the attribute with the number of lines about the subject that
// were left out since the last one.
const leftOutKey = "left_out"

// Lines logs the lines of a background loop, which may repeat, by the rules of its
// Limiter. It is safe for concurrent use.
type Lines struct {
	log   *slog.Logger
	limit *Limiter
}

// NewLines returns Lines that write to log.
func NewLines(log *slog.Logger, limit *Limiter) *Lines { return &Lines{log, limit} }

// loopEvery is the first interval between two lines of ForLoop about one subject.
const loopEvery = 10 * time.Second

// ForLoop returns Lines for a loop that runs as long as its node does, and tries something
// every few moments. The first interval between two lines about one subject is 10 s.
func ForLoop(log *slog.Logger) *Lines { return NewLines(log, &Limiter{Every: loopEvery}) }

// Log writes a line about a subject, or counts it as left out.
func (l *Lines) Log(level slog.Level, about, message string, attrs ...any) {
	leftOut, ok := l.limit.Allow(about)
	if !ok {
		return
	}
	if leftOut > 0 {
		attrs = append(attrs, leftOutKey, leftOut)
	}
	l.log.Log(context.Background(), level, message, attrs...)
}

// Over writes a line, at level INFO, that a subject's trouble has ended. The line has the
// trouble's duration and the number of lines that were left out. Over writes nothing if
// there was no line about the present trouble.
func (l *Lines) Over(about, message string, attrs ...any) {
	after, leftOut, ok := l.limit.Over(about)
	if !ok {
		return
	}
	attrs = append(attrs, "after", after)
	if leftOut > 0 {
		attrs = append(attrs, leftOutKey, leftOut)
	}
	l.log.Info(message, attrs...)
}
