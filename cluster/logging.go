package cluster

import (
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"reflect"
	"time"

	"github.com/hashicorp/go-hclog"
)

// raftLogger makes raft's log lines slog records of l, with their attributes in
// a group of their own.
func raftLogger(l *slog.Logger) hclog.Logger {
	out := hclog.NewInterceptLogger(&hclog.LoggerOptions{Output: io.Discard, Level: hclog.Debug})
	out.RegisterSink(slogSink{l.WithGroup("raft")})
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
	readable := make([]any, len(args))
	for i, arg := range args {
		readable[i] = readableAttr(arg)
	}
	s.log.Log(context.Background(), to, msg, readable...)
}

// readableAttr makes text of what would else be shown by its fields, such as
// the raft instance itself.
func readableAttr(arg any) any {
	switch a := arg.(type) {
	case hclog.Format:
		if len(a) > 0 {
			return fmt.Sprintf(fmt.Sprint(a[0]), a[1:]...)
		}
	case error, time.Duration:
		return a
	case fmt.Stringer:
		return a.String()
	}
	switch reflect.Indirect(reflect.ValueOf(arg)).Kind() {
	case reflect.Struct, reflect.Slice, reflect.Map:
		return fmt.Sprintf("%+v", arg)
	}
	return arg
}

// gossipLogger makes memberlist's log lines debug records of l: it reports
// every failed dial, which is no news while a peer is down.
func gossipLogger(l *slog.Logger) *log.Logger {
	return slog.NewLogLogger(l.Handler(), slog.LevelDebug)
}
