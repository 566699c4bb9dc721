package raftlog

import (
	"fmt"
	"io"
	"log/slog"
	"reflect"
	"slices"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/kvorum/kvorum/internal/loglimit"
)

// raftPeerKeys are the attributes by which raft names the peer that a line is about.
var raftPeerKeys = []string{"peer", "server-id", "target", "from", "candidate"}

// New returns a logger for raft that makes its lines records of l. Their attributes are in a
// group named raft.
func New(l *slog.Logger) hclog.Logger {
	out := hclog.NewInterceptLogger(&hclog.LoggerOptions{Output: io.Discard, Level: hclog.Debug})
	out.RegisterSink(&slogSink{loglimit.ForLoop(l.WithGroup("raft")), l.WithGroup("raft")})
	return out
}

// slogSink passes what hclog is told on to slog.
type slogSink struct {
	lines *loglimit.Lines
	debug *slog.Logger
}

// Accept implements hclog.SinkAdapter. What raft calls an error is about a peer
// that it does not reach, and repeated until it does: a warning here. Errors of
// this node reach the log by other ways.
func (s *slogSink) Accept(_ string, level hclog.Level, msg string, args ...any) {
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
	if to == slog.LevelDebug {
		s.debug.Debug(msg, readable...)
		return
	}
	s.lines.Log(to, msg+peerOf(readable), msg, readable...)
}

// peerOf returns the peer that a line's attributes name, "" if they name none.
func peerOf(attrs []any) string {
	for i := 0; i+1 < len(attrs); i += 2 {
		if key, ok := attrs[i].(string); ok && slices.Contains(raftPeerKeys, key) {
			return fmt.Sprint(" ", attrs[i+1])
		}
	}
	return ""
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
