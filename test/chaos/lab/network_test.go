//go:build linux

package lab_test

import (
	"testing"
	"time"

	"github.com/kvorum/kvorum/test/chaos/lab"
)

const (
	// unreachable is how many milliseconds a ping waits for an answer that is not to come.
	unreachable = 400
	// reachable is how many it waits for one that is to come.
	reachable = 10_000
)

// TestCut_OneWay cuts what one host sends to another: no connection between them works,
// old or new, in whichever direction it was made; others and clients see nothing of it.
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

// blocked fails the test if something that one host sends to another is answered.
func blocked(t *testing.T, from, to lab.Host) {
	t.Helper()
	for _, fresh := range []string{"", "yes"} {
		if _, err := tell(t, from, "/ping", "to", at(t, to), "ms", unreachable, "fresh", fresh); err == nil {
			t.Errorf("%s reaches %s (fresh: %q)", from.Name(), to.Name(), fresh)
		}
	}
}

// TestCut_OldConnectionGoesOn cuts a connection in both directions for less than it
// takes TCP to give up: what was sent meanwhile comes after the heal.
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
