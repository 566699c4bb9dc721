package main

import (
	"context"
	"log/slog"
	"net"
	"os"
	"time"

	"github.com/kvorum/kvorum/internal/loglimit"
	"github.com/kvorum/kvorum/transport"
)

const (
	// certificateTick is the interval at which the certificate's files are checked for changes.
	certificateTick = 5 * time.Second
	day             = 24 * time.Hour
)

// certificates replaces the certificate in use when its files change, and warns before it
// ends.
type certificates struct {
	files  *transport.TLSFiles
	log    *slog.Logger
	lines  *loglimit.Lines
	ends   time.Time // end of the certificate that the newest warning was about
	warned time.Time // time of that warning
}

func newCertificates(files *transport.TLSFiles, log *slog.Logger) *certificates {
	return &certificates{files: files, log: log, lines: loglimit.NewLines(log, &loglimit.Limiter{Every: 10 * time.Second})}
}

// checkNames warns of advertised addresses whose hosts are not in the certificate: their
// clients refuse the certificate.
func (c *certificates) checkNames(addrs map[string]string) {
	for flag, addr := range addrs {
		host, _, err := net.SplitHostPort(addr)
		if err == nil {
			err = c.files.Covers(host)
		}
		if err != nil {
			c.log.Warn("the certificate is not for an advertised address: those who dial it refuse this node", "flag", flag, "addr", addr, "err", err)
		}
	}
}

// run reads the files again at each hangup signal, and when they have changed, until ctx
// ends.
func (c *certificates) run(ctx context.Context, hangups <-chan os.Signal) {
	tick := time.NewTicker(certificateTick)
	defer tick.Stop()
	for {
		c.warn(time.Now())
		select {
		case <-hangups:
			c.report(true, c.files.Reload())
		case <-tick.C:
			changed, err := c.files.Refresh()
			c.report(changed, err)
		case <-ctx.Done():
			return
		}
	}
}

// report logs the result of reading the files.
func (c *certificates) report(changed bool, err error) {
	switch {
	case err != nil:
		c.lines.Log(slog.LevelError, err.Error(), "certificates not replaced; those from before stay in use", "err", err, "ends", c.files.Ends())
	case changed:
		c.log.Info("certificates replaced", "ends", c.files.Ends())
	}
}

// warn logs that the certificate ends soon, if a warning is due.
func (c *certificates) warn(now time.Time) {
	ends := c.files.Ends()
	if !ends.Equal(c.ends) {
		c.ends, c.warned = ends, time.Time{}
	}
	if !warningDue(ends, c.warned, now) {
		return
	}
	c.warned = now
	if left := ends.Sub(now); left > 0 {
		c.log.Warn("the certificate, or its authority's, ends soon: replace the files", "ends", ends, "left", left.Round(time.Minute))
	} else {
		c.log.Error("the certificate, or its authority's, has ended: peers and clients refuse this node; replace the files", "ended", ends)
	}
}

// warningDue reports whether a warning of a certificate's end is due: 30 days
// before the end, daily in the last week, and hourly in the last day and after the end.
func warningDue(ends, warned, now time.Time) bool {
	left := ends.Sub(now)
	switch {
	case left > 30*day:
		return false
	case warned.IsZero(), left <= day && now.Sub(warned) >= time.Hour, left <= 7*day && now.Sub(warned) >= day:
		return true
	}
	for _, at := range []time.Duration{7 * day, day} { // one of these times has passed since the last warning
		if left <= at && ends.Sub(warned) > at {
			return true
		}
	}
	return false
}
