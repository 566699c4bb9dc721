package transport

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"
)

// tcpPair returns the two ends of a TCP connection, the first as the transport uses it.
func tcpPair(t *testing.T) (*rawConn, *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dialed, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dialed.Close(); accepted.Close() })
	raw, err := newRawConn(dialed.(*net.TCPConn))
	if err != nil {
		t.Fatal(err)
	}
	return raw, accepted.(*net.TCPConn)
}

// countedSys counts the raw reads and writes of a connection.
type countedSys struct {
	syscall.RawConn
	reads, writes int
}

func (c *countedSys) Read(f func(fd uintptr) bool) error {
	c.reads++
	return c.RawConn.Read(f)
}

func (c *countedSys) Write(f func(fd uintptr) bool) error {
	c.writes++
	return c.RawConn.Write(f)
}

// TestRawConn_LongReadsAndWrites checks that the scheduler is told of reads and writes
// that may copy for long.
func TestRawConn_LongReadsAndWrites(t *testing.T) {
	here, there := tcpPair(t)
	counted := &countedSys{RawConn: here.sys}
	here.sys = counted
	for _, c := range []struct {
		read, write int
		raw         int
	}{{rawReadBytes, rawWriteBytes, 1}, {rawReadBytes + 1, rawWriteBytes + 1, 0}} {
		counted.reads, counted.writes = 0, 0
		if _, err := there.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if n, err := here.Read(make([]byte, c.read)); n != 1 || err != nil {
			t.Errorf("read %d, %v", n, err)
		}
		if n, err := here.Write(make([]byte, c.write)); n != c.write || err != nil {
			t.Errorf("wrote %d, %v", n, err)
		}
		if counted.reads != c.raw || counted.writes != c.raw {
			t.Errorf("%d raw reads into %d bytes and %d raw writes of %d, want %d of each", counted.reads, c.read, counted.writes, c.write, c.raw)
		}
	}
}

// TestRawTCP_Race checks that raw system calls are used unless the race detector is on.
func TestRawTCP_Race(t *testing.T) {
	here, _ := tcpPair(t)
	if _, raw := rawTCP(here.TCPConn).(*rawConn); raw == raceEnabled {
		t.Errorf("raw system calls: %t, race detector: %t", raw, raceEnabled)
	}
}

// TestRawConn_Errors compares the errors of a connection with those that a *net.TCPConn has.
func TestRawConn_Errors(t *testing.T) {
	past := time.Now().Add(-time.Second)
	for name, c := range map[string]struct {
		fail func(here, there net.Conn)
		read error
	}{
		"Ended":    {func(_, there net.Conn) { there.Close() }, io.EOF},
		"Deadline": {func(here, _ net.Conn) { here.SetDeadline(past) }, os.ErrDeadlineExceeded},
		"Closed":   {func(here, _ net.Conn) { here.Close() }, net.ErrClosed},
		"Reset": {func(_, there net.Conn) {
			there.(*net.TCPConn).SetLinger(0)
			there.Close()
		}, syscall.ECONNRESET},
	} {
		t.Run(name, func(t *testing.T) {
			here, there := tcpPair(t)
			plain, other := tcpPair(t)
			c.fail(here, there)
			c.fail(plain, other)
			_, got := here.Read(make([]byte, 10))
			_, want := plain.TCPConn.Read(make([]byte, 10))
			if !errors.Is(got, c.read) || !errors.Is(want, c.read) {
				t.Fatalf("got %v, and %v of the library's, want %v", got, want, c.read)
			}
			var a, b *net.OpError
			if errors.As(got, &a) != errors.As(want, &b) || a != nil && (a.Op != b.Op || a.Timeout() != b.Timeout() || a.Err.Error() != b.Err.Error()) {
				t.Errorf("got %#v, and %#v of the library's", got, want)
			}
		})
	}
}

// TestRawConn_WaitsForRoom writes more than the kernel takes, in small pieces: all of it
// arrives.
func TestRawConn_WaitsForRoom(t *testing.T) {
	here, there := tcpPair(t)
	here.SetWriteBuffer(4 << 10)
	want := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	wrote := make(chan error, 1)
	go func() {
		for rest := want; len(rest) > 0; rest = rest[min(len(rest), 3000):] {
			if n, err := here.Write(rest[:min(len(rest), 3000)]); err != nil || n != min(len(rest), 3000) {
				wrote <- errors.Join(err, io.ErrShortWrite)
				return
			}
		}
		wrote <- here.Close()
	}()
	got, err := io.ReadAll(there)
	if err := errors.Join(err, <-wrote); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d of %d bytes, %v", len(got), len(want), err)
	}
}
