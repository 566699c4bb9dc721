package fsm_test

import (
	"testing"

	"github.com/kvorum/kvorum/fsm"
	"github.com/kvorum/kvorum/kv"
)

// BenchmarkFSM_KeyLimit applies requests that look at as many keys as they may, in a state of up
// to a million keys: a compare, a range with its count, and a delete. All other writes wait for
// as long as one takes.
func BenchmarkFSM_KeyLimit(b *testing.B) {
	for _, kind := range []struct {
		name    string
		request func(kv.Span) kv.Request
	}{
		{"compare", func(span kv.Span) kv.Request {
			return kv.Request{If: []kv.Compare{{Span: span, Target: kv.TargetVersion, Relation: kv.Greater}}}
		}},
		{"range", func(span kv.Span) kv.Request {
			return kv.Request{Then: []kv.Op{{Kind: kv.OpRange, Span: span, Range: &kv.RangeOptions{Limit: 1}}}}
		}},
		{"delete", func(span kv.Span) kv.Request {
			return kv.Request{Then: []kv.Op{{Kind: kv.OpDelete, Span: span}}}
		}},
	} {
		b.Run(kind.name, func(b *testing.B) {
			const parts = 10
			var f *fsm.FSM
			for i := 0; b.Loop(); i++ {
				part := i % parts
				if part == 0 { // a delete has left none
					b.StopTimer()
					f = filled(parts * kv.MaxRequestKeys)
					f.Apply(entry(f.AppliedIndex()+1, 1, 0, fsm.HistoryRequest()))
					b.StartTimer()
				}
				span := kv.Span{Start: benchKey(part * kv.MaxRequestKeys), End: benchKey((part + 1) * kv.MaxRequestKeys)}
				f.Apply(entry(f.AppliedIndex()+1, 1, 0, encode(kind.request(span))))
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/kv.MaxRequestKeys, "ns/key")
		})
	}
}
