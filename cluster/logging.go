package cluster

import (
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"

	"github.com/hashicorp/go-hclog"
)

// raftLogger makes raft's log lines slog records of l, with their level and attributes.
func raftLogger(l *slog.Logger) hclog.Logger {
	out := hclog.NewInterceptLogger(&hclog.LoggerOptions{Output: io.Discard, Level: hclog.Debug})
	out.RegisterSink(slogSink{l})
	return out
}

// slogSink passes what hclog is told on to slog.
type slogSink struct{ log *slog.Logger }

// Accept implements hclog.SinkAdapter. What raft calls an error is about a peer
// that it does not reach, and repeated until it does: a warning here. Errors of
// this node reach the log by other ways.
func (s slogSink) Accept(_ string, level hclog.Level, msg string, args ...any) {
	to := slog.LevelInfo
	switch level {
	case hclog.Trace, hclog.Debug:
		to = slog.LevelDebug
	case hclog.Warn, hclog.Error:
		to = slog.LevelWarn
	}
	for i, arg := range args {
		if f, ok := arg.(hclog.Format); ok && len(f) > 0 {
			args[i] = fmt.Sprintf(fmt.Sprint(f[0]), f[1:]...)
		}
	}
	s.log.Log(context.Background(), to, msg, args...)
}

// gossipLogger makes memberlist's log lines debug records of l: it reports
// every failed dial, which is no news while a peer is down.
func gossipLogger(l *slog.Logger) *log.Logger {
	return slog.NewLogLogger(l.Handler(), slog.LevelDebug)
}
