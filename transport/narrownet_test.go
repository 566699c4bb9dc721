package transport_test

import (
	"bytes"
	"net"
	"sync/atomic"
	"time"
)

// narrow bounds what a simulated network carries, in each direction of its
// connections together. The fields but rate must not be changed while it is in use.
type narrow struct {
	rate   atomic.Int64 // bytes per second
	buffer int          // bytes that each connection holds before that, as a kernel does

	there, back chan struct{} // each a lock with one slot: who sends now
}

const (
	megabit    = 1_000_000 / 8
	packet     = 1500
	bufferPart = 4 << 10
)

func newNarrow(rate int64, buffer int) *narrow {
	n := &narrow{buffer: buffer, there: make(chan struct{}, 1), back: make(chan struct{}, 1)}
	n.rate.Store(rate)
	return n
}

// pipe is net.Pipe over the network.
func (n *narrow) pipe() (here, there net.Conn) {
	here, hereEnd := net.Pipe()
	there, thereEnd := net.Pipe()
	go n.carry(n.there, hereEnd, thereEnd)
	go n.carry(n.back, thereEnd, hereEnd)
	return here, there
}

// carry takes bytes from one end of a connection to the other, until either is closed.
func (n *narrow) carry(turn chan struct{}, in, out net.Conn) {
	parts, done := make(chan []byte, max(1, n.buffer/bufferPart)), make(chan struct{})
	defer in.Close()
	defer out.Close()
	defer close(done)
	go func() {
		defer close(parts)
		buf := make([]byte, bufferPart)
		for {
			m, err := in.Read(buf)
			select {
			case parts <- bytes.Clone(buf[:m]):
			case <-done:
				return
			}
			if err != nil {
				return
			}
		}
	}()
	for part := range parts {
		for len(part) > 0 {
			p := part[:min(len(part), packet)]
			turn <- struct{}{}
			time.Sleep(time.Duration(len(p)) * time.Second / time.Duration(n.rate.Load()))
			<-turn
			if _, err := out.Write(p); err != nil {
				return
			}
			part = part[len(p):]
		}
	}
}
