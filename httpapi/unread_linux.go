package httpapi

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// hasUnread says whether bytes have come that were not read from the connection yet.
// It waits for none.
func hasUnread(conn net.Conn) bool {
	socket, ok := belowTLS(conn).(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return false // it is closed
	}
	var n int
	// Not Read, which would wait for the read that the connection's goroutine is in.
	err = raw.Control(func(fd uintptr) {
		var first [1]byte
		n, _, _ = unix.Recvfrom(int(fd), first[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
	})
	return err == nil && n > 0
}
