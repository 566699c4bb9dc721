package discovery

import (
	"log"
	"log/slog"
	"strings"
	"time"

	"github.com/kvorum/kvorum/internal/loglimit"
)

// repeatEvery is the shortest interval between two lines that say the same; it doubles for
// as long as they repeat.
const repeatEvery = 10 * time.Second

// newLines returns what a background loop logs to.
func newLines(l *slog.Logger) *loglimit.Lines {
	return loglimit.NewLines(l, &loglimit.Limiter{Every: repeatEvery})
}

// gossipLogger makes memberlist's log lines debug records of l: it reports
// every failed dial, which is no news while a peer is down. What was encrypted
// with another key, or not at all, is a warning: a node with the wrong key is not
// seen, and that would be all.
func gossipLogger(l *slog.Logger) *log.Logger {
	return log.New(&gossipLines{newLines(l), l}, "", 0)
}

// gossipLines is an io.Writer for memberlist's lines.
type gossipLines struct {
	lines *loglimit.Lines
	debug *slog.Logger
}

func (g *gossipLines) Write(line []byte) (int, error) {
	text := strings.TrimSpace(string(line))
	if !wrongKey(text) {
		g.debug.Debug("gossip", "memberlist", text)
	} else {
		g.lines.Log(slog.LevelWarn, "", "gossip is dropped: it was not encrypted with this node's key", "memberlist", text)
	}
	return len(line), nil
}

// wrongKey reports whether memberlist says that it could not read what it got, or
// would not read, because it does not have the right key.
func wrongKey(line string) bool {
	for _, part := range []string{"could decrypt", "Decrypt packet failed", "state is encrypted", "state is not encrypted"} {
		if strings.Contains(line, part) {
			return true
		}
	}
	return false
}
