package discovery

import (
	"fmt"
	"testing"
)

// TestNet_NotesAreBounded dials more addresses than are remembered. The newest is remembered.
func TestNet_NotesAreBounded(t *testing.T) {
	n := &gossipNet{dials: make(map[string]gossipDial)}
	for i := range 3 * maxNoted {
		addr := fmt.Sprintf("host-%d:6001", i)
		n.note(addr, gossipDial{})
		if !n.connected(addr) {
			t.Fatalf("%s was dialed just now, and is not remembered", addr)
		}
	}
	if len(n.dials) != maxNoted {
		t.Errorf("%d addresses are remembered, want %d", len(n.dials), maxNoted)
	}
}
