package sim

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// traceSize is how many events are kept.
const traceSize = 300

// trace keeps the newest events of a simulation. Safe for concurrent use.
type trace struct {
	start time.Time

	mu     sync.Mutex
	events [traceSize]event // guarded by mu; a ring
	count  int              // guarded by mu; events ever added
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

// logger returns a logger whose lines become events of host.
func (t *trace) logger(host string) *slog.Logger {
	return slog.New(traceHandler{trace: t, host: host})
}

// traceHandler is a slog.Handler above a trace.
type traceHandler struct {
	trace *trace
	host  string
	attrs string
}

func (h traceHandler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= slog.LevelInfo
}

func (h traceHandler) Handle(_ context.Context, r slog.Record) error {
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
