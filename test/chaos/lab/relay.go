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
	// pieceBytes is the maximum number of bytes of a piece.
	pieceBytes = 16 << 10
	// maxPieces is the maximum number of pieces in flight in one direction; then the sender
	// waits.
	maxPieces = 256
)

// relay is a connection that goes through a proxy.
type relay struct {
	dialed    *net.TCPConn
	addr      netip.AddrPort // of the host that was dialed
	out, home *road
}

// piece is a part of a stream in flight. The end of the stream is a piece without bytes.
type piece struct {
	arrival
	data []byte
}

func newRelay(dialed *net.TCPConn, addr netip.AddrPort, out, home *road) *relay {
	return &relay{dialed: dialed, addr: addr, out: out, home: home}
}

// run passes both directions on until both have ended, one is reset, or ctx ends. It
// connects to the host once the roads let a handshake of TCP pass. If the dialer has closed
// the connection before that, the host sees nothing.
func (r *relay) run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	defer wg.Wait()
	defer closeAtEnd(ctx, r.dialed)()
	defer cancel()

	setup, giveUp := context.WithCancel(ctx)
	defer giveUp()
	outward := make(chan piece, maxPieces)
	wg.Go(func() { read(ctx, r.dialed, r.out, outward, giveUp) })
	host, err := r.connect(ctx, setup)
	if err != nil {
		return
	}
	defer closeAtEnd(ctx, host)()
	homeward := make(chan piece, maxPieces)
	var both sync.WaitGroup
	wg.Go(func() { read(ctx, host, r.home, homeward, func() {}) })
	both.Go(func() { write(ctx, host, r.out, outward, cancel) })
	both.Go(func() { write(ctx, r.dialed, r.home, homeward, cancel) })
	both.Wait()
}

// closeAtEnd closes a connection when ctx ends, or earlier by the function that it returns.
// Bytes that have not passed by then are dropped on purpose.
func closeAtEnd(ctx context.Context, c *net.TCPConn) func() {
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	return func() {
		if stop() {
			_ = c.Close()
		}
	}
}

// connect connects to the host once the roads are passable. It fails at the end of wanted.
func (r *relay) connect(ctx, wanted context.Context) (*net.TCPConn, error) {
	for _, way := range []*road{r.out, r.home} {
		if err := way.passable(wanted, arrival{}); err != nil {
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

// read puts the bytes from c on a road, and calls ended at their end.
func read(ctx context.Context, c *net.TCPConn, way *road, to chan<- piece, ended func()) {
	defer close(to)
	defer ended()
	buf := make([]byte, pieceBytes)
	for {
		n, err := c.Read(buf)
		comes, again := way.due(time.Now(), max(n, 1))
		p := piece{arrival: comes}
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

// write writes pieces to c when they arrive, in their order, and the end. It calls broken
// if c accepts no more bytes.
func write(ctx context.Context, c *net.TCPConn, way *road, from <-chan piece, broken func()) {
	for p := range from {
		if way.passable(ctx, p.arrival) != nil {
			return
		}
		if p.data == nil {
			_ = c.CloseWrite() // the other direction may continue
			return
		}
		if _, err := c.Write(p.data); err != nil {
			broken()
			return
		}
	}
}
