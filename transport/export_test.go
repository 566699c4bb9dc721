package transport

import "time"

// Limits are the limits that black-box tests may change; zero keeps the default.
type Limits struct {
	Handshakes, Conns, InFlight, DeadPings int
	Handshake, WriteStall, PingEvery, Idle time.Duration
}

// NewForTesting is New with other limits.
func NewForTesting(cfg Config, l Limits) (*Transport, error) {
	limits := defaultLimits()
	replace(&limits.handshakes, l.Handshakes)
	replace(&limits.conns, l.Conns)
	replace(&limits.inFlight, l.InFlight)
	replace(&limits.deadPings, l.DeadPings)
	replace(&limits.handshake, l.Handshake)
	replace(&limits.writeStall, l.WriteStall)
	replace(&limits.pingEvery, l.PingEvery)
	replace(&limits.idle, l.Idle)
	return newWithLimits(cfg, limits)
}

func replace[T comparable](limit *T, by T) {
	var zero T
	if by != zero {
		*limit = by
	}
}
