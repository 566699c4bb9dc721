package transport

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"unsafe"
)

// rawConn is a TCP connection whose short reads and writes are raw system calls.
//
// Go's scheduler is told of an ordinary system call before and after it, since that may
// block. If nothing else happens in the process, this wakes the scheduler's monitor, a
// thread that then looks round every 20 µs for a while. In an idle node nearly all system
// calls are reads and writes of heartbeats, and these wake-ups were a quarter of its
// processor time. A socket of Go's never blocks: there is nothing to tell.
type rawConn struct {
	*net.TCPConn
	sys syscall.RawConn
}

// rawWriteBytes is the maximum length of a write that the scheduler is not told of: a
// longer one copies for a while.
const rawWriteBytes = 4 << 10

// rawReadBytes is the maximum length of a read that the scheduler is not told of. A read
// into a payload of megabytes may copy all that the kernel has received.
const rawReadBytes = frameBufferBytes

// rawTCP returns a connection that costs less while little is read and written, nc itself
// if it is none of TCP, or the race detector is on: package syscall tells the detector
// that what is written happens before what is read, and raw system calls do not.
func rawTCP(nc net.Conn) net.Conn {
	tc, ok := nc.(*net.TCPConn)
	if !ok || raceEnabled {
		return nc
	}
	raw, err := newRawConn(tc)
	if err != nil {
		return nc
	}
	return raw
}

func newRawConn(tc *net.TCPConn) (*rawConn, error) {
	sys, err := tc.SyscallConn()
	return &rawConn{tc, sys}, err
}

// Read implements io.Reader. Its errors are those of a *net.TCPConn.
func (c *rawConn) Read(p []byte) (int, error) {
	if len(p) == 0 || len(p) > rawReadBytes {
		return c.TCPConn.Read(p)
	}
	var n int
	var errno syscall.Errno
	err := c.sys.Read(func(fd uintptr) (done bool) {
		if n, errno = rawCall(syscall.SYS_READ, fd, p); errno == syscall.EAGAIN {
			errno = 0
			return false // until something has come
		}
		return true
	})
	if err = c.failed("read", err, errno); err == nil && n == 0 {
		err = io.EOF
	}
	return n, err
}

// Write implements io.Writer. Its errors are those of a *net.TCPConn.
func (c *rawConn) Write(p []byte) (int, error) {
	if len(p) == 0 || len(p) > rawWriteBytes {
		return c.TCPConn.Write(p)
	}
	written := 0
	var errno syscall.Errno
	err := c.sys.Write(func(fd uintptr) (done bool) {
		for errno == 0 && written < len(p) {
			var n int
			n, errno = rawCall(syscall.SYS_WRITE, fd, p[written:])
			written += n
		}
		if errno == syscall.EAGAIN {
			errno = 0
			return false // until there is room
		}
		return true
	})
	return written, c.failed("write", err, errno)
}

// rawCall is a read or a write of p, which is not empty. A socket of Go's does not block.
func rawCall(call, fd uintptr, p []byte) (int, syscall.Errno) {
	for {
		n, _, errno := syscall.RawSyscall(call, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
		switch errno {
		case 0:
			return int(n), 0
		case syscall.EINTR:
		default:
			return 0, errno
		}
	}
}

// failed returns the error of a read or write, as a *net.TCPConn returns it.
func (c *rawConn) failed(op string, err error, errno syscall.Errno) error {
	if errno != 0 {
		err = os.NewSyscallError(op, errno)
	}
	if err == nil {
		return nil
	}
	if waited := new(net.OpError); errors.As(err, &waited) {
		err = waited.Err
	}
	return &net.OpError{Op: op, Net: "tcp", Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: err}
}
