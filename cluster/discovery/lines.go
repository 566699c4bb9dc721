package discovery

import (
	"log"
	"log/slog"
	"strings"

	"github.com/kvorum/kvorum/internal/loglimit"
)

// gossipLogger logs memberlist's lines to l at debug level: memberlist reports every failed
// dial, which is no news while a peer is down. Messages that are encrypted with another
// key, or not at all, are a warning: otherwise a node with the wrong key would just not
// be seen.
func gossipLogger(l *slog.Logger) *log.Logger {
	return log.New(&gossipLines{loglimit.ForLoop(l), l}, "", 0)
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

// wrongKey reports whether memberlist's line means that it could not or would not read a
// message because the keys differ.
func wrongKey(line string) bool {
	for _, part := range []string{"could decrypt", "Decrypt packet failed", "state is encrypted", "state is not encrypted"} {
		if strings.Contains(line, part) {
			return true
		}
	}
	return false
}
