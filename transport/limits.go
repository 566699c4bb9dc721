package transport

import "time"

// Limits on what peers, and strangers, can make the transport hold.
const (
	maxHandshakes   = 256       // connections that have not introduced themselves
	maxConns        = 1024      // accepted and dialed connections together
	maxDials        = 4         // to one peer at a time
	maxInFlight     = 1024      // requests being handled for one connection
	maxIDBytes      = 256       // of a ServerID or a cluster id
	maxAddrBytes    = 512       // of an advertised address
	maxMessageBytes = 1024      // of an error's text on the wire
	maxCodeBytes    = 256       // of an error's code on the wire
	maxHelloBytes   = 4096      // of a handshake message
	writeChunkBytes = 256 << 10 // written under one deadline: with writeStall the least rate of a connection
	urgentBytes     = 4 << 10   // a call with more goes over the bulk connection
	writeQueue      = 128       // frames waiting to be written to one connection

	// frameBytesCeiling keeps every length in a frame below 2^31.
	frameBytesCeiling = 1 << 30
)

// limits are the numbers that a test may want smaller.
type limits struct {
	handshakes int
	conns      int
	inFlight   int
	handshake  time.Duration // for an accepted connection to introduce itself
	writeStall time.Duration // for writeChunkBytes to leave
	pingEvery  time.Duration // between the pings of the side that dialed
	tellEvery  time.Duration // between two reports of what has arrived over a bulk connection
	deadPings  int           // intervals without one byte after a ping: the peer is dead
	idle       time.Duration // without a frame, pings included: the dialer is dead
	dataStall  time.Duration // without a byte of a snapshot's data: its sender is dead
	// proofOfLife is how long a process may take to show that it lives, when another
	// one with its id has come.
	proofOfLife time.Duration
	minBackoff  time.Duration // between dials to an unreachable peer
	maxBackoff  time.Duration
}

// within returns l with at most conns connections; 0 leaves it as it is.
func (l limits) within(conns int) limits {
	if conns > 0 && conns < l.conns {
		l.conns = conns
		l.handshakes = max(1, min(l.handshakes, conns/4))
	}
	return l
}

func defaultLimits() limits {
	return limits{
		handshakes:  maxHandshakes,
		conns:       maxConns,
		inFlight:    maxInFlight,
		handshake:   5 * time.Second,
		writeStall:  10 * time.Second,
		pingEvery:   time.Second,
		tellEvery:   250 * time.Millisecond,
		deadPings:   5,
		idle:        30 * time.Second,
		dataStall:   3 * time.Second,
		proofOfLife: time.Second,
		minBackoff:  50 * time.Millisecond,
		maxBackoff:  time.Second,
	}
}
