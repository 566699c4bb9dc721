//go:build linux

package lab

import (
	"context"
	"errors"
	"time"
)

type tracer struct{}

func newProxies(*lab) (network, error) {
	return nil, errors.New("proxies are not there yet")
}

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
