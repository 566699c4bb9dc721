//go:build linux

package lab

import (
	"context"
	"time"
)

type tracer struct{}

// FailSyscalls implements Host.
func (h *host) FailSyscalls(context.Context, SyscallFault) error {
	return notCovered("not there yet")
}

// MendSyscalls implements Host.
func (h *host) MendSyscalls(context.Context) error { return nil }

// LimitFiles implements Host.
func (h *host) LimitFiles(context.Context, uint64) error { return notCovered("not there yet") }

// SkewClock implements Host.
func (h *host) SkewClock(context.Context, time.Duration) error { return notCovered("not there yet") }

// Resources implements Host.
func (h *host) Resources() (Resources, error) { return Resources{}, notCovered("not there yet") }
