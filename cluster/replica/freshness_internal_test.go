package replica

import (
	"math"
	"testing"
	"time"
)

func TestFreshness(t *testing.T) {
	var f freshness
	start := time.Unix(100, 0)
	at := func(seconds int) time.Time { return start.Add(time.Duration(seconds) * time.Second) }
	check := func(what string, applied uint64, now int, want time.Duration) {
		t.Helper()
		if got := f.age(applied, at(now)); got != want {
			t.Errorf("%s: got %v, want %v", what, got, want)
		}
	}
	check("nothing heard", 7, 0, math.MaxInt64)
	f.heard(10, 7, at(1))
	check("not reached yet", 9, 2, math.MaxInt64)
	f.heard(20, 9, at(3)) // the older one is what is waited for
	check("the older one is reached", 10, 5, 4*time.Second)
	f.heard(20, 15, at(6))
	f.heard(30, 19, at(7))
	check("behind", 19, 8, 7*time.Second)
	check("caught up", 20, 9, 3*time.Second)
	f.heard(20, 20, at(10))
	check("at once", 20, 10, 0)
	f.heard(20, 20, at(9))
	check("an older one, overtaken", 20, 10, 0)
	f.heard(30, 20, at(12))
	f.heard(20, 20, at(11))
	check("an older one, and a newer that is not reached", 20, 13, 2*time.Second)
	check("the newer one is reached", 30, 72, time.Minute)
	f.heard(40, 30, at(80)) // of a leader that ends
	f.heard(30, 30, at(81)) // of its successor, which does not know of 40 yet
	check("a later one that knows of less", 30, 90, 78*time.Second)
	check("what the earlier one knew of is reached", 40, 90, 10*time.Second)
}
