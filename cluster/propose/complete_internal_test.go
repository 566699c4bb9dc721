package propose

import (
	"bytes"
	"sync/atomic"
	"testing"

	"github.com/kvorum/kvorum/internal/wire"
)

// TestComplete_SmallShareKeepsNoLargeAnswers shows that a caller with a small share of large
// responses gets a copy: otherwise it keeps the answers to all others in memory.
func TestComplete_SmallShareKeepsNoLargeAnswers(t *testing.T) {
	small, large := wire.AppendBytes(nil, "small"), wire.AppendBytes(nil, make([]byte, 2*sharedBytes))
	for name, tt := range map[string]struct {
		first, second []byte
		copied        bool
	}{"Large": {small, large, true}, "Small": {small, small, false}} {
		var batch []*proposal
		for range 2 {
			batch = append(batch, &proposal{requests: wire.Requests{Count: 1}, held: new(atomic.Int64), done: make(chan proposalResult, 1)})
		}
		responses := bytes.Join([][]byte{tt.first, tt.second}, nil)
		complete(batch, responses)
		clear(responses)
		for i, want := range [][]byte{tt.first, tt.second} {
			got := <-batch[i].done
			if got.err != nil || len(got.responses) != len(want) {
				t.Fatalf("%s: share %d: got %d bytes, %v", name, i, len(got.responses), got.err)
			}
			if copied := bytes.Equal(got.responses, want); copied != (tt.copied && len(want) < sharedBytes) {
				t.Errorf("%s: share %d: it is a copy: %t", name, i, copied)
			}
		}
	}
}
