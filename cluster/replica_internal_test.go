package cluster

import "testing"

// TestSpread: nodes differ in how long their logs get, and none goes beyond what was
// configured.
func TestSpread(t *testing.T) {
	const n = 64 << 20
	a, b := spread(n, "n1.a"), spread(n, "n2.a")
	if a == b {
		t.Errorf("both nodes have %d", a)
	}
	for _, got := range []int64{a, b} {
		if got > n || got < n*2/3 {
			t.Errorf("got %d of %d", got, n)
		}
	}
}
