package transport

import (
	"time"

	"github.com/hashicorp/raft"
)

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

// CarriedForTesting returns how far a peer was told, or is being told, that the log is
// committed, 0 if that is not known.
func (t *Transport) CarriedForTesting(id raft.ServerID) uint64 {
	if c := t.peerOf(id).traffic.carried.Load(); c != nil {
		return c.commit
	}
	return 0
}
