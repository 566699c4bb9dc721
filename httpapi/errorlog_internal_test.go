package httpapi

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestErrorLog_Repeated logs the lines of a health check that refuses the certificate every
// second.
func TestErrorLog_Repeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		l := errorLog(slog.New(slog.NewTextHandler(&out, nil)))
		for i := range 60 {
			l.Printf("http: TLS handshake error from 10.0.0.9:%d: remote error: tls: bad certificate", 40000+i)
			time.Sleep(time.Second)
		}
		l.Print("http: TLS handshake error from 10.0.0.8:40000: EOF")
		if got := strings.Count(out.String(), "\n"); got != 4 { // after 0, 10 and 30 s, and the other host's
			t.Errorf("%d lines, want 4:\n%s", got, fmt.Sprint(&out))
		}
	})
}
