package httpapi

import (
	"log"
	"log/slog"
	"regexp"
	"strings"
	"time"

	"github.com/kvorum/kvorum/internal/loglimit"
)

// repeatEvery is the shortest interval between two equal lines of net/http's.
const repeatEvery = 10 * time.Second

// clientPort is the port of a client in a line of net/http's: another one for each connection.
var clientPort = regexp.MustCompile(`:\d+: `)

// errorLog makes net/http's log lines warnings of l. A client that does not accept
// the certificate, or that speaks no TLS, causes one with each connection: those
// about one host and cause come at growing intervals.
func errorLog(l *slog.Logger) *log.Logger {
	return log.New(errorLines{loglimit.NewLines(l, &loglimit.Limiter{Every: repeatEvery})}, "", 0)
}

type errorLines struct{ lines *loglimit.Lines }

// Write implements io.Writer.
func (e errorLines) Write(line []byte) (int, error) {
	text := strings.TrimSpace(string(line))
	e.lines.Log(slog.LevelWarn, clientPort.ReplaceAllString(text, ": "), "HTTP connection failed", "detail", text)
	return len(line), nil
}
