package replica_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/kvorum/kvorum/cluster"
	"github.com/kvorum/kvorum/cluster/internal/clustertest"
	"github.com/kvorum/kvorum/fsm"
	"github.com/kvorum/kvorum/internal/wire"
	"github.com/kvorum/kvorum/kv"
	"github.com/kvorum/kvorum/transport"
)

// TestHandlePropose_Refuses shows what a peer can't bring into the log.
func TestHandlePropose_Refuses(t *testing.T) {
	n := clustertest.Open(t, 1, nil)[0]
	clustertest.Leader(t, []*clustertest.Node{n})
	from, good := transport.Identity{ID: "n9.0123456789abcdef"}, put("k")
	with := func(bad wire.Requests) []byte {
		return forwarded(good, bad)
	}
	invalid := new(kv.ValidationError)
	for name, payload := range map[string][]byte{
		"Nothing":    nil,
		"Cut":        with(good)[:len(with(good))-1],
		"Longer":     append(with(good), 0),
		"Clock":      with(fsm.ClockRequest()),
		"Retire":     with(fsm.RetireRequest("n1.0")),
		"Checkpoint": with(fsm.CheckpointRequest()),
		"NoKey":      with(clustertest.Encode(kv.Delete(""))),
		"LongKey":    with(put(string(make([]byte, cluster.LimitMaxKeyBytes+1)))),
		"BigValue":   with(clustertest.Encode(kv.Put("k", make([]byte, cluster.LimitMaxValueBytes+1)))),
	} {
		if _, err := n.Replica().Handle(t.Context(), from, kindPropose, payload); !errors.As(err, &invalid) {
			t.Errorf("%s: got %v, want a ValidationError", name, err)
		}
	}
	newer := with(good)
	newer[1] = fsm.Version + 1
	if _, err := n.Replica().Handle(t.Context(), from, kindPropose, newer); !errors.Is(err, kv.ErrUnsupported) || !strings.Contains(err.Error(), n.Config.Name) {
		t.Errorf("a newer command version: got %v, want ErrUnsupported that names this node", err)
	}
	newer = append([]byte{3}, with(good)[1:]...)
	if _, err := n.Replica().Handle(t.Context(), from, kindPropose, newer); !errors.Is(err, kv.ErrUnsupported) || !strings.Contains(err.Error(), n.Config.Name) {
		t.Errorf("a newer format: got %v, want ErrUnsupported that names this node", err)
	}
	if _, err := n.Replica().Handle(t.Context(), from, 99, nil); !errors.Is(err, kv.ErrUnsupported) || !strings.Contains(err.Error(), n.Config.Name) {
		t.Errorf("an unknown kind: got %v, want ErrUnsupported that names this node", err)
	}
	if _, err := n.Get(t.Context(), "k", kv.ReadOptions{}); err != nil {
		t.Fatal(err)
	}
	if n.State().Revision() != 1 {
		t.Errorf("got revision %d: what was refused has changed something", n.State().Revision())
	}
	answer, err := n.Replica().Handle(t.Context(), from, kindPropose, with(put("l")))
	if err != nil {
		t.Fatal(err)
	}
	first, rest, err := wire.Take(answer, 1)
	if err != nil {
		t.Fatal(err)
	}
	for i, data := range [][]byte{first, rest} {
		if response, err := fsm.DecodeResponse(data); err != nil || !response.Succeeded || response.Revision != uint64(i+2) {
			t.Errorf("response %d: got %+v, %v", i, response, err)
		}
	}
}
