package httpapi

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// hasUnread reports whether the connection has received bytes that were not read yet. It
// does not wait.
func hasUnread(conn net.Conn) bool {
	socket, ok := belowTLS(conn).(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return false // the connection is closed
	}
	var n int
	// Not Read, which would wait for the present read of the connection's goroutine.
	err = raw.Control(func(fd uintptr) {
		var first [1]byte
		n, _, _ = unix.Recvfrom(int(fd), first[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
	})
	return err == nil && n > 0
}
