package httpapi

import (
	"log"
	"log/slog"
	"regexp"
	"strings"
	"time"

	"github.com/kvorum/kvorum/internal/loglimit"
)

// repeatEvery is the minimum interval between two equal log lines of net/http.
const repeatEvery = 10 * time.Second

// clientPort matches the port of a client in a log line of net/http. The port differs for
// each connection.
var clientPort = regexp.MustCompile(`:\d+: `)

// errorLog returns a logger for net/http that logs warnings to l. A client that does not
// accept the certificate, or does not use TLS, causes a line with each connection. So lines
// about the same host and cause are logged at growing intervals.
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
