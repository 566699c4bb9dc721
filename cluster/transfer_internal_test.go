package cluster

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kvorum/kvorum/kv"
)

// deafTo loses, once it is told to, what tells a peer to campaign.
type deafTo struct {
	net.Conn
	lose *atomic.Bool
}

func (d deafTo) Write(b []byte) (int, error) {
	if d.lose.Load() && hasTimeoutNow(b) {
		return len(b), nil
	}
	return d.Conn.Write(b)
}

// hasTimeoutNow looks for the command in frames: length(4) type(1) id(8) kind(1).
func hasTimeoutNow(b []byte) bool {
	for len(b) > 13 {
		if b[4] == 8 && b[13] == 4 {
			return true
		}
		b = b[min(uint64(len(b)), 4+uint64(binary.BigEndian.Uint32(b))):]
	}
	return false
}

// TestNode_TransferHangs hands leadership to a node that does not answer: writes
// are held back for about a second, and no longer than the caller waits. The limit
// here is only that a transport's time for an answer, 5 s, is not waited for.
func TestNode_TransferHangs(t *testing.T) {
	t.Parallel()
	var lose atomic.Bool
	nodes := openCluster(t, 3, func(c *Config) {
		c.Seams.Dial = func(ctx context.Context, addr string) (net.Conn, error) {
			var d net.Dialer
			conn, err := d.DialContext(ctx, "tcp", addr)
			if err != nil {
				return nil, err
			}
			return deafTo{conn, &lose}, nil
		}
	})
	leader := leaderOf(t, nodes)
	mustPut(t, leader, "k", "")
	lose.Store(true)
	for _, patience := range []time.Duration{time.Minute, 200 * time.Millisecond} {
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		if err := leader.TransferLeadership(ctx); !errors.Is(err, kv.ErrNoSuccessor) {
			t.Errorf("got %v, want ErrNoSuccessor", err)
		}
		cancel()
		mustPut(t, leader, "k", "")
		if took := time.Since(began); took > 4*time.Second {
			t.Errorf("with %v to wait: the next write was done after %v", patience, took)
		}
	}
}
