package sim

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// traceSize is the number of events that are kept.
const traceSize = 300

// trace keeps the newest events of a simulation. Safe for concurrent use.
type trace struct {
	start time.Time

	mu     sync.Mutex
	events [traceSize]event     // guarded by mu; a ring
	count  int                  // guarded by mu; events ever added
	logged map[string]time.Time // guarded by mu; when each line of a host's log was added last
}

// repeatAfter is the time for which the same line of a log is omitted.
const repeatAfter = time.Second

// repeated reports whether line was added within repeatAfter.
func (t *trace) repeated(line string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if last, ok := t.logged[line]; ok && time.Since(last) < repeatAfter {
		return true
	}
	t.logged[line] = time.Now()
	return false
}

// event is formatted only when it is printed; its args must not change.
type event struct {
	at     time.Duration
	format string
	args   []any
}

func (t *trace) add(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.events[t.count%traceSize] = event{time.Since(t.start), format, args}
	t.count++
}

// String returns the events, the oldest first.
func (t *trace) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out strings.Builder
	for i := max(0, t.count-traceSize); i < t.count; i++ {
		e := t.events[i%traceSize]
		fmt.Fprintf(&out, "%12.6f "+e.format+"\n", append([]any{e.at.Seconds()}, e.args...)...)
	}
	return out.String()
}

// logger returns a logger whose lines become events of host, and which counts some of them.
func (t *trace) logger(host string, count *counts) *slog.Logger {
	return slog.New(traceHandler{trace: t, host: host, count: count})
}

// traceHandler is a slog.Handler above a trace.
type traceHandler struct {
	trace *trace
	host  string
	attrs string
	count *counts
}

func (h traceHandler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= slog.LevelInfo
}

func (h traceHandler) Handle(_ context.Context, r slog.Record) error {
	switch r.Message {
	case "leading":
		h.count.elections.Add(1)
	case "Installed remote snapshot":
		h.count.snapshots.Add(1)
	case "failed to contact":
		h.count.late.Add(1)
	}
	if h.trace.repeated(h.host + r.Message) {
		return nil
	}
	line := h.attrs
	r.Attrs(func(a slog.Attr) bool {
		line += " " + a.String()
		return true
	})
	h.trace.add("%s log %s: %s%s", h.host, r.Level, r.Message, line)
	return nil
}

func (h traceHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	for _, a := range attrs {
		h.attrs += " " + a.String()
	}
	return h
}

func (h traceHandler) WithGroup(string) slog.Handler { return h }
