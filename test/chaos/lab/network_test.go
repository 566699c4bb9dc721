//go:build linux

package lab_test

import (
	"errors"
	"testing"
	"time"

	"github.com/kvorum/kvorum/test/chaos/lab"
)

const (
	// unreachable is the number of milliseconds that a ping waits for an answer that must
	// not come.
	unreachable = 400
	// reachable is the number of milliseconds that it waits for one that must come.
	reachable = 10_000
)

// TestCut_OneWay cuts the packets from one host to another. No connection between them
// works, old or new, made in any direction. Other hosts and clients are not affected.
func TestCut_OneWay(t *testing.T) {
	inEachKind(t, lab.Config{Initial: 3}, func(t *testing.T, l lab.Lab) {
		hosts := l.Hosts()
		mustStart(t, hosts...)
		a, b, c := hosts[0], hosts[1], hosts[2]
		for _, h := range hosts {
			for _, other := range hosts {
				if h != other {
					mustTell(t, h, "/ping", "to", at(t, other), "ms", reachable)
				}
			}
		}
		must(t, l.Cut(t.Context(), a, b))
		blocked(t, a, b)
		blocked(t, b, a)
		for _, p := range [][2]lab.Host{{a, c}, {c, a}, {b, c}, {c, b}} {
			mustTell(t, p[0], "/ping", "to", at(t, p[1]), "ms", reachable)
		}
		must(t, l.Heal(t.Context()))
		for _, p := range [][2]lab.Host{{a, b}, {b, a}} {
			mustTell(t, p[0], "/ping", "to", at(t, p[1]), "ms", reachable)
		}
	})
}

// blocked fails the test if a message from one host to another is answered.
func blocked(t *testing.T, from, to lab.Host) {
	t.Helper()
	for _, fresh := range []string{"", "yes"} {
		if _, err := tell(t, from, "/ping", "to", at(t, to), "ms", unreachable, "fresh", fresh); err == nil {
			t.Errorf("%s reaches %s (fresh: %q)", from.Name(), to.Name(), fresh)
		}
	}
}

// TestCut_OldConnectionGoesOn cuts a connection in both directions for less than TCP's
// timeout. Bytes that were sent meanwhile arrive after the heal.
func TestCut_OldConnectionGoesOn(t *testing.T) {
	inEachKind(t, lab.Config{Initial: 2}, func(t *testing.T, l lab.Lab) {
		a, b := l.Hosts()[0], l.Hosts()[1]
		mustStart(t, a, b)
		to := at(t, b)
		mustTell(t, a, "/ping", "to", to, "ms", reachable)
		must(t, l.Cut(t.Context(), a, b))
		must(t, l.Cut(t.Context(), b, a))
		answered := make(chan error, 1)
		go func() { _, err := tell(t, a, "/ping", "to", to, "ms", reachable, "bytes", 100_000); answered <- err }()
		select {
		case err := <-answered:
			t.Fatalf("answered through the cut: %v", err)
		case <-time.After(unreachable * time.Millisecond):
		}
		must(t, l.Heal(t.Context()))
		must(t, <-answered)
	})
}

// TestShape delays, narrows and drops packets from one host to another, and checks that the
// other direction, and other hosts, are not affected.
func TestShape(t *testing.T) {
	inEachKind(t, lab.Config{Initial: 3}, func(t *testing.T, l lab.Lab) {
		a, b, c := l.Hosts()[0], l.Hosts()[1], l.Hosts()[2]
		mustStart(t, a, b, c)
		for _, test := range []struct {
			name  string
			how   lab.Shape
			bytes int
			least time.Duration // minimum of the round trip
		}{
			{"delay", lab.Shape{Delay: 300 * time.Millisecond}, 1, 300 * time.Millisecond},
			{"jitter", lab.Shape{Delay: 300 * time.Millisecond, Jitter: 100 * time.Millisecond}, 1, 200 * time.Millisecond},
			{"rate", lab.Shape{BytesPerSecond: 200_000}, 400_000, 1500 * time.Millisecond},
			{"loss", lab.Shape{Loss: 0.1}, 100_000, 0},
		} {
			t.Run(test.name, func(t *testing.T) {
				must(t, l.Shape(t.Context(), a, b, test.how))
				for _, fresh := range []string{"yes", ""} {
					took := mustTell(t, a, "/ping", "to", at(t, b), "ms", reachable, "bytes", test.bytes, "fresh", fresh)
					if took := time.Duration(took) * time.Microsecond; took < test.least {
						t.Errorf("%d bytes took %v, less than %v (fresh: %q)", test.bytes, took, test.least, fresh)
					}
				}
				quickest := time.Hour // the minimum of several, because this machine may be busy
				for range 5 {
					took := mustTell(t, a, "/ping", "to", at(t, c), "ms", reachable)
					quickest = min(quickest, time.Duration(took)*time.Microsecond)
				}
				if test.least > 0 && quickest > test.least {
					t.Errorf("a byte to another host takes %v", quickest)
				}
				must(t, l.Heal(t.Context()))
			})
		}
		if err := l.Shape(t.Context(), a, b, lab.Shape{Loss: 2}); err == nil {
			t.Error("two of one packets may be lost")
		}
	})
}

// TestShape_HealedAtOnce delays bytes for longer than the test waits. They arrive with the
// heal.
func TestShape_HealedAtOnce(t *testing.T) {
	inEachKind(t, lab.Config{Initial: 2}, func(t *testing.T, l lab.Lab) {
		a, b := l.Hosts()[0], l.Hosts()[1]
		mustStart(t, a, b)
		to := at(t, b)
		mustTell(t, a, "/ping", "to", to, "ms", reachable)
		must(t, l.Shape(t.Context(), a, b, lab.Shape{Delay: 10 * reachable * time.Millisecond}))
		answered := make(chan error, 1)
		go func() { _, err := tell(t, a, "/ping", "to", to, "ms", reachable); answered <- err }()
		select {
		case err := <-answered:
			t.Fatalf("answered through the delay: %v", err)
		case <-time.After(unreachable * time.Millisecond):
		}
		must(t, l.Heal(t.Context()))
		must(t, <-answered)
	})
}

// TestShape_Reorder makes packets overtake others, and TCP restores their order. A proxy of
// streams can't do this, and says so.
func TestShape_Reorder(t *testing.T) {
	inEachKind(t, lab.Config{Initial: 2}, func(t *testing.T, l lab.Lab) {
		a, b := l.Hosts()[0], l.Hosts()[1]
		mustStart(t, a, b)
		err := l.Shape(t.Context(), a, b, lab.Shape{Delay: time.Millisecond, Reorder: 0.2})
		if l.Kind() == lab.KindProxy {
			if !errors.Is(err, lab.ErrNotCovered) {
				t.Fatalf("got %v, want an ErrNotCovered", err)
			}
			return
		}
		must(t, err)
		mustTell(t, a, "/ping", "to", at(t, b), "ms", reachable, "bytes", 300_000)
	})
}

// TestReaddress gives a host another address. Peers reach it there and not at the old one,
// clients reach it at the same URL, and a cut still has its effect.
func TestReaddress(t *testing.T) {
	inEachKind(t, lab.Config{Initial: 2}, func(t *testing.T, l lab.Lab) {
		a, b := l.Hosts()[0], l.Hosts()[1]
		mustStart(t, a, b)
		before, url := at(t, b), b.URL()
		if err := b.Readdress(t.Context()); !errors.Is(err, lab.ErrRunning) {
			t.Errorf("while it runs: got %v, want ErrRunning", err)
		}
		must(t, l.Cut(t.Context(), a, b))
		must(t, b.Kill(t.Context()))
		must(t, b.Readdress(t.Context()))
		mustStart(t, b)
		if at(t, b) == before || b.URL() != url {
			t.Errorf("at %s for peers, %s for clients; before %s, %s", at(t, b), b.URL(), before, url)
		}
		blocked(t, a, b)
		must(t, l.Heal(t.Context()))
		mustTell(t, a, "/ping", "to", at(t, b), "ms", reachable)
		mustTell(t, b, "/ping", "to", at(t, a), "ms", reachable)
		if _, err := tell(t, a, "/ping", "to", before, "ms", unreachable, "fresh", "yes"); err == nil {
			t.Error("it is still reached at its old address")
		}
	})
}
