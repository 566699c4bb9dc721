//go:build linux

package lab

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"time"
)

const (
	// pieceBytes is the maximum that a relay passes on at once.
	pieceBytes = 16 << 10
	// maxPieces is how many pieces of one direction are on their way; the sender waits then.
	maxPieces = 256
)

// relay is a connection that goes through a proxy.
type relay struct {
	dialed    *net.TCPConn
	addr      netip.AddrPort // of the host that was meant
	out, home *road
}

// piece is a part of a stream on its way; its end has no bytes.
type piece struct {
	at   time.Time
	data []byte
}

func newRelay(dialed *net.TCPConn, addr netip.AddrPort, out, home *road) *relay {
	return &relay{dialed: dialed, addr: addr, out: out, home: home}
}

// run passes both directions on until both have ended, one is reset, or ctx ends. It
// connects to the host once the roads let a handshake of TCP through; a dialer that
// has hung up until then never was there.
func (r *relay) run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	defer wg.Wait()
	defer context.AfterFunc(ctx, func() { _ = r.dialed.Close() })()
	defer cancel()

	setup, giveUp := context.WithCancel(ctx)
	defer giveUp()
	outward := make(chan piece, maxPieces)
	wg.Go(func() { read(ctx, r.dialed, r.out, outward, giveUp) })
	host, err := r.connect(setup)
	if err != nil {
		return
	}
	defer host.Close()
	defer context.AfterFunc(ctx, func() { _ = host.Close() })()
	homeward := make(chan piece, maxPieces)
	var both sync.WaitGroup
	wg.Go(func() { read(ctx, host, r.home, homeward, func() {}) })
	both.Go(func() { write(ctx, host, r.out, outward, cancel) })
	both.Go(func() { write(ctx, r.dialed, r.home, homeward, cancel) })
	both.Wait()
}

// connect connects to the host.
func (r *relay) connect(ctx context.Context) (*net.TCPConn, error) {
	for _, way := range []*road{r.out, r.home} {
		if err := way.passable(ctx, time.Time{}); err != nil {
			return nil, err
		}
	}
	var dialer net.Dialer
	c, err := dialer.DialContext(ctx, "tcp4", r.addr.String())
	if err != nil {
		return nil, err
	}
	return c.(*net.TCPConn), nil
}

// read puts what c sends on a road, and calls ended at its end.
func read(ctx context.Context, c *net.TCPConn, way *road, to chan<- piece, ended func()) {
	defer close(to)
	defer ended()
	var last time.Time
	buf := make([]byte, pieceBytes)
	for {
		n, err := c.Read(buf)
		now := time.Now()
		at, again := way.due(now, max(n, 1))
		if at.Before(last) {
			at = last // a stream has an order
		}
		last = at
		p := piece{at: at}
		if err == nil {
			p.data = append(p.data, buf[:n]...)
		}
		select {
		case to <- p:
		case <-ctx.Done():
			return
		}
		if err != nil || way.passable(ctx, again) != nil {
			return
		}
	}
}

// write passes pieces on to c when they are due, and their end. It calls broken where
// c takes no more.
func write(ctx context.Context, c *net.TCPConn, way *road, from <-chan piece, broken func()) {
	for p := range from {
		if way.passable(ctx, p.at) != nil {
			return
		}
		if p.data == nil {
			_ = c.CloseWrite() // the other direction may go on
			return
		}
		if _, err := c.Write(p.data); err != nil {
			broken()
			return
		}
	}
}
