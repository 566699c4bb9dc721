package testkit

import (
	"fmt"
	"net"
	"testing"
)

// Greeter returns the address of a TCP server on loopback that sends text first and then
// closes each connection. Servers of some other protocols also send first. The server ends
// with the test.
func Greeter(t testing.TB, text string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return // closed
			}
			_, _ = fmt.Fprint(c, text) // the client may have gone
			_ = c.Close()
		}
	}()
	return l.Addr().String()
}
