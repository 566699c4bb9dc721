package cluster

import (
	"fmt"
	"sync"
	"testing"

	"github.com/kvorum/kvorum/fsm"
	"github.com/kvorum/kvorum/kv"
)

// TestGet_RevisionIsSessionToken has entries set or delete all keys while others read,
// at each level. The item and the revision of an answer belong together, and a read
// that waits for that revision sees nothing older.
func TestGet_RevisionIsSessionToken(t *testing.T) {
	const keys, entries = 50, 100
	n := openCluster(t, 1, nil)[0]
	r := mustJoined(t, n)
	first := r.fsm.Revision()
	done := make(chan struct{})
	var readers sync.WaitGroup
	for _, level := range []kv.Consistency{kv.Stale, kv.LeaderLocal, kv.Linearizable} {
		readers.Go(func() {
			var seen uint64 // revision
			for i := 0; ; i++ {
				select {
				case <-done:
					return
				default:
				}
				result, err := n.Get(t.Context(), fmt.Sprint("k", i%keys), kv.ReadOptions{Level: level, MinRevision: seen})
				if err != nil {
					t.Errorf("%s: %v", level, err)
					return
				}
				at := result.Revision - first // each entry takes as many revisions as there are keys
				entry, want := at/keys, uint64(0)
				if entry%2 == 1 {
					want = result.Revision - keys + uint64(i%keys) + 1
				}
				if at%keys != 0 || result.Revision < seen || result.Item.ModRevision != want {
					t.Errorf("%s after revision %d: an item of revision %d beside revision %d, %d behind entry %d",
						level, seen, result.Item.ModRevision, result.Revision, at%keys, entry)
					return
				}
				seen = result.Revision
			}
		})
	}
	for entry := range entries {
		cmds := make([]fsm.Command, keys)
		for i := range cmds {
			cmds[i] = fsm.Command{Op: []fsm.Op{fsm.OpPut, fsm.OpDelete}[entry%2], Key: fmt.Sprint("k", i)}
		}
		if _, err := r.proposer.propose(t.Context(), cmds, false); err != nil {
			t.Error(err)
			break
		}
	}
	close(done)
	readers.Wait()
}
