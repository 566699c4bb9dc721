package propose_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/cluster/leadership"
	"github.com/kvorum/kvorum/cluster/propose"
	"github.com/kvorum/kvorum/fsm"
	"github.com/kvorum/kvorum/kv"
)

// applyRoute applies each batch at once, as a log without disk and network would.
type applyRoute struct {
	state *fsm.FSM
	index uint64
}

func (*applyRoute) Leading() bool { return true }

func (*applyRoute) Supports(byte) error { return nil }

func (r *applyRoute) Apply(b propose.Batch) ([]byte, error) {
	r.index++
	entry := fsm.AppendEntry(nil, int64(r.index), b.Facts.Version, b.Facts.Count, b.Parts...)
	return r.state.Apply(&raft.Log{Index: r.index, Term: 1, Type: raft.LogCommand, Data: entry}).([]byte), nil
}

func (*applyRoute) Forward(context.Context, propose.Batch, func() bool) ([]byte, error) {
	panic("the node leads")
}

// BenchmarkPut puts values of 256 bytes, from the request to its response.
func BenchmarkPut(b *testing.B) {
	for _, callers := range []int{1, 128} {
		b.Run(fmt.Sprintf("callers=%d", 2*callers), func(b *testing.B) {
			ctx, cancel := context.WithCancel(context.Background())
			p := propose.New(1<<30, 0, leadership.New(), &applyRoute{state: fsm.New(fsm.Config{})})
			ended := make(chan struct{})
			go func() { defer close(ended); p.Run(ctx) }()
			value := make([]byte, 256)
			b.SetParallelism(callers)
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for i := 0; pb.Next(); i++ {
					answer, err := p.Propose(ctx, encode(kv.Put(fmt.Sprintf("key-%012d", i%10_000), value)), false)
					if err != nil {
						b.Error(err)
					}
					if response, err := fsm.DecodeResponse(answer); err != nil || !response.Succeeded {
						b.Error(response, err)
					}
				}
			})
			cancel()
			<-ended
		})
	}
}
