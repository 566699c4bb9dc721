package fsm_test

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/kvorum/kvorum/fsm"
	"github.com/kvorum/kvorum/internal/wire"
	"github.com/kvorum/kvorum/kv"
)

// TestFSM_EntriesAreSeenWhole shows that a reader sees the state between two entries, and
// the revision of that state. Entry e puts all keys if e is odd, else it deletes them, so
// each entry takes as many revisions as there are keys.
func TestFSM_EntriesAreSeenWhole(t *testing.T) {
	const entries = 1000
	for _, keys := range []int{1, 2, 100} {
		t.Run(fmt.Sprint(keys), func(t *testing.T) {
			f := newFSM(t)
			var readers sync.WaitGroup
			for range 3 {
				readers.Go(func() { readEntries(t, f, keys, entries) })
			}
			readers.Go(func() { waitEntries(t, f, keys, entries) })
			for e := range uint64(entries) {
				mustApply(t, f, e+1, 0, allKeys(e+1, keys)...)
			}
			readers.Wait()
		})
	}
}

// allKeys returns the commands of entry e.
func allKeys(e uint64, keys int) []wire.Requests {
	commands := make([]wire.Requests, keys)
	for i := range commands {
		if commands[i] = delCmd(visibleKey(i)); e%2 == 1 {
			commands[i] = putCmd(visibleKey(i), "v")
		}
	}
	return commands
}

func visibleKey(i int) string { return fmt.Sprintf("k%03d", i) }

// readEntries reads single keys and views until it has seen the last entry.
func readEntries(t *testing.T, f *fsm.FSM, keys int, last uint64) {
	var seen uint64 // the newest entry that was seen
	for seen < last && !t.Failed() {
		seen = max(seen, checkEntry(t, f, keys, seen))
		v := mustView(t, f)
		n := v.Count(kv.All())
		if e := v.Revision() / uint64(keys); v.Revision()%uint64(keys) != 0 || e < seen || n != keys*int(e%2) {
			t.Errorf("after entry %d: a view of revision %d has %d keys", seen, v.Revision(), n)
		}
		_ = v.Close()
	}
}

// checkEntry reads one key after entry seen was seen, and returns the entry that the read
// shows.
func checkEntry(t *testing.T, f *fsm.FSM, keys int, seen uint64) uint64 {
	i := rand.IntN(keys)
	it, revision, found := f.GetAt(visibleKey(i))
	e := revision / uint64(keys)
	if revision%uint64(keys) != 0 || e < seen || found != (e%2 == 1) || found && it.ModRevision != (e-1)*uint64(keys)+uint64(i)+1 {
		t.Errorf("after entry %d: key %d of revision %d (%v) beside revision %d", seen, i, it.ModRevision, found, revision)
	}
	if it, found := f.Get(visibleKey(rand.IntN(keys))); found && it.ModRevision+uint64(keys) <= e*uint64(keys) {
		t.Errorf("after entry %d: a key of revision %d", e, it.ModRevision)
	}
	return e
}

// waitEntries waits for the first revision of each entry, and checks that it then sees the
// whole entry.
func waitEntries(t *testing.T, f *fsm.FSM, keys int, last uint64) {
	for e := uint64(1); e <= last && !t.Failed(); e++ {
		if err := f.WaitRevision(t.Context(), (e-1)*uint64(keys)+1); err != nil {
			t.Error(err)
			return
		}
		checkEntry(t, f, keys, e)
	}
}
