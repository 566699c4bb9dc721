//go:build linux

package lab

import (
	"context"
	"time"
)

// SkewClock implements Host.
func (h *host) SkewClock(context.Context, time.Duration) error { return notCovered("not there yet") }
