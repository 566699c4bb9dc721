package cluster_test

import (
	"strings"
	"testing"

	"github.com/kvorum/kvorum/cluster"
)

// What a plan gives clients, and connections to peers.
const (
	minClients, maxClients = 32, 8192
	maxPeers               = 1024
)

// TestPlanDescriptors shows that the parts never add up to more than the limit,
// that clients get what is left, and that too low a limit is refused with the
// number needed.
func TestPlanDescriptors(t *testing.T) {
	for _, limit := range []int{cluster.MinDescriptors, 256, 1024, 4096, 20000, 1 << 20} {
		p, err := cluster.PlanDescriptors(limit, "test")
		if err != nil {
			t.Fatalf("limit %d: %v", limit, err)
		}
		sum := p.Process + p.Log + p.Snapshots + p.Store + p.Gossip + p.Peers + p.Clients
		if sum > limit || p.Clients < minClients || p.Clients > maxClients || p.Peers > maxPeers {
			t.Errorf("limit %d: got %+v, %d together", limit, p, sum)
		}
		if p.Clients < maxClients && sum != limit {
			t.Errorf("limit %d: got %+v, %d together, want all given out", limit, p, sum)
		}
	}
	_, err := cluster.PlanDescriptors(cluster.MinDescriptors-1, "RLIMIT_NOFILE")
	for _, word := range []string{"195", "196", "RLIMIT_NOFILE", "ulimit -n", "LimitNOFILE"} {
		if err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("got %v, want an error that names %q", err, word)
		}
	}
}
