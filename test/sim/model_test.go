package sim

import (
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// connected runs f with both ends of a connection from host a to host b, on which a segment
// takes 10 ms.
func connected(t *testing.T, f func(t *testing.T, n *network, a, b *endpoint, near, far net.Conn)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l := link{min: 10 * time.Millisecond, max: 10 * time.Millisecond}
		n := newNetwork(rand.New(rand.NewPCG(1, 1)), l, &trace{start: time.Now()})
		a, b := n.attach("a"), n.attach("b")
		listener := b.listen("b:1")
		near, err := a.dial(t.Context(), "b:1")
		if err != nil {
			t.Fatal(err)
		}
		far, err := listener.Accept()
		if err != nil {
			t.Fatal(err)
		}
		f(t, n, a, b, near, far)
	})
}

func write(t *testing.T, c net.Conn, what string) {
	t.Helper()
	if n, err := c.Write([]byte(what)); n != len(what) || err != nil {
		t.Fatalf("write %q: %d, %v", what, n, err)
	}
}

func read(t *testing.T, c net.Conn, want string, after time.Duration) {
	t.Helper()
	start, got := time.Now(), make([]byte, len(want))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != want {
		t.Fatalf("read %q, %v, want %q", got, err, want)
	}
	if took := time.Since(start); took != after {
		t.Errorf("%q took %v, want %v", want, took, after)
	}
}

// TestNetwork shows that the network makes the faults that it is told to make.
func TestNetwork(t *testing.T) {
	t.Run("DelaysAndKeepsOrder", func(t *testing.T) {
		connected(t, func(t *testing.T, n *network, _, _ *endpoint, near, far net.Conn) {
			n.set("a", "b", link{min: time.Second, max: time.Second})
			write(t, near, "one")
			n.heal()
			write(t, near, "two")
			read(t, far, "onetwo", time.Second)
			write(t, far, "back")
			read(t, near, "back", 10*time.Millisecond)
		})
	})
	t.Run("BlocksOneWay", func(t *testing.T) {
		connected(t, func(t *testing.T, n *network, _, _ *endpoint, near, far net.Conn) {
			n.set("a", "b", link{blocked: true})
			write(t, near, "held")
			_ = far.SetReadDeadline(time.Now().Add(time.Minute))
			if _, err := far.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatalf("read of what is held back: %v", err)
			}
			_ = far.SetReadDeadline(time.Time{})
			write(t, far, "free")
			read(t, near, "free", 10*time.Millisecond)
			n.heal()
			read(t, far, "held", 10*time.Millisecond)
		})
	})
	t.Run("EndsWithClose", func(t *testing.T) {
		connected(t, func(t *testing.T, _ *network, _, _ *endpoint, near, far net.Conn) {
			write(t, near, "last")
			_ = near.Close()
			if rest, err := io.ReadAll(far); string(rest) != "last" || err != nil {
				t.Errorf("read %q, %v", rest, err)
			}
			if _, err := near.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
				t.Errorf("write after close: %v", err)
			}
		})
	})
	t.Run("KillDeliversThenResets", func(t *testing.T) {
		connected(t, func(t *testing.T, _ *network, a, _ *endpoint, near, far net.Conn) {
			write(t, near, "last")
			a.kill(false)
			read(t, far, "last", 10*time.Millisecond)
			if _, err := far.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("read after a kill: %v", err)
			}
		})
	})
	t.Run("PowerLossIsSilent", func(t *testing.T) {
		connected(t, func(t *testing.T, n *network, a, _ *endpoint, near, far net.Conn) {
			write(t, near, "lost")
			a.kill(true)
			_ = far.SetReadDeadline(time.Now().Add(time.Minute))
			if _, err := far.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("read from a host without power: %v", err)
			}
			n.power("a", true)
			_ = far.SetReadDeadline(time.Time{})
			if _, err := far.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("read when it is up again: %v", err)
			}
		})
	})
	t.Run("FillsUp", func(t *testing.T) {
		connected(t, func(t *testing.T, n *network, _, _ *endpoint, near, far net.Conn) {
			write(t, near, strings.Repeat("x", window))
			_ = near.SetWriteDeadline(time.Now().Add(time.Minute))
			if _, err := near.Write([]byte("y")); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("write into a full connection: %v", err)
			}
		})
	})
	t.Run("RefusesWhereNobodyListens", func(t *testing.T) {
		connected(t, func(t *testing.T, n *network, a, _ *endpoint, _, _ net.Conn) {
			if _, err := a.dial(t.Context(), "b:2"); !errors.Is(err, syscall.ECONNREFUSED) {
				t.Errorf("dial: %v", err)
			}
		})
	})
}
