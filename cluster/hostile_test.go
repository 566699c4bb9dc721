package cluster_test

import (
	crand "crypto/rand"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/kvorum/kvorum/cluster/internal/clustertest"
)

// TestNode_GarbageOnPeerPort has strangers open a thousand connections to the
// nodes of a cluster that is written to, and say all kinds of things. Nothing of
// them is left afterwards.
func TestNode_GarbageOnPeerPort(t *testing.T) { // not parallel: it counts what the process has
	nodes := clustertest.Open(t, 3, nil)
	clustertest.MustPut(t, nodes[0], "k", "")
	goroutines, heap := footprint()
	writer := clustertest.WriteOn(t, nodes)
	var strangers sync.WaitGroup
	for range 50 {
		strangers.Go(func() {
			for i := range 20 {
				harass(nodes[i%3].Config.AdvertisePeer)
			}
		})
	}
	strangers.Wait()
	writer.Stop()
	clustertest.Eventually(t, "the strangers are gone", func() error {
		for _, n := range nodes {
			if s := n.Stats().Transport; s.Handshaking != 0 || s.Connections > 12 {
				return fmt.Errorf("%d handshakes, %d connections", s.Handshaking, s.Connections)
			}
		}
		if g, h := footprint(); g > goroutines+30 || h > heap+(32<<20) {
			return fmt.Errorf("%d goroutines and %d bytes, before that %d and %d", g, h, goroutines, heap)
		}
		return nil
	})
	for _, n := range nodes {
		if err := n.Err(); err != nil {
			t.Errorf("%s stops: %v", n.Config.Name, err)
		}
	}
}

// footprint returns how many goroutines and bytes are in use.
func footprint() (goroutines int, bytes uint64) {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return runtime.NumGoroutine(), m.HeapAlloc
}

// harass opens a connection and sends something that no peer does.
func harass(addr string) {
	c, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		return // refused for now
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(500 * time.Millisecond))
	noise := make([]byte, 1+rand.IntN(20_000))
	_, _ = crand.Read(noise) // never fails
	opening := []string{"", "K", "B", "S", "GET / HTTP/1.1\r\n\r\n", "\x16\x03\x01", "KKVRM\x04\xff\xff", "KKVRM\x04\x00\x40", "SKVRM\x04\x0f\xff"}
	_, _ = io.WriteString(c, opening[rand.IntN(len(opening))])
	if rand.IntN(4) != 0 {
		_, _ = c.Write(noise)
	}
	if rand.IntN(2) == 0 {
		_, _ = io.Copy(io.Discard, c)
	}
}
