package cluster_test

import (
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/kvorum/kvorum/cluster"
	"github.com/kvorum/kvorum/cluster/internal/clustertest"
	"github.com/kvorum/kvorum/kv"
	"github.com/kvorum/kvorum/wal"
)

// TestGet_RevisionIsSessionToken has entries set or delete all keys while others read,
// at each level. The item and the revision of an answer belong together, and a read
// that waits for that revision sees nothing older.
func TestGet_RevisionIsSessionToken(t *testing.T) {
	const keys, entries = 50, 100
	n := clustertest.Open(t, 1, nil)[0]
	first := n.State().Revision()
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
		requests := make([]kv.Request, keys)
		for i := range requests {
			requests[i] = []kv.Request{kv.Put(fmt.Sprint("k", i), nil), kv.Delete(fmt.Sprint("k", i))}[entry%2]
		}
		if _, err := n.Replica().Propose(t.Context(), clustertest.Encode(requests...)); err != nil {
			t.Error(err)
			break
		}
	}
	close(done)
	readers.Wait()
}

// TestDo_Response shows what a response says of the key, for each kind of change and
// condition, whether or not the condition holds.
func TestDo_Response(t *testing.T) {
	n := clustertest.Open(t, 1, nil)[0]
	value := []byte("v")
	for _, tt := range []struct {
		name    string
		request kv.Request
		want    kv.Response
	}{
		{"delete of no key", kv.Delete("k"), one(true, 1, false, 0)},
		{"present, of no key", kv.Put("k", value, kv.Present("k")), one(false, 1, false, 0)},
		{"put of no key", kv.Put("k", value), one(true, 2, false, 2)},
		{"put of a key", kv.Put("k", value), one(true, 3, true, 3)},
		{"absent, of a key", kv.Put("k", value, kv.Absent("k")), one(false, 3, true, 3)},
		{"another revision", kv.Delete("k", kv.ModRevision("k", 2)), one(false, 3, true, 3)},
		{"its revision", kv.Put("k", value, kv.ModRevision("k", 3)), one(true, 4, true, 4)},
		{"present", kv.Delete("k", kv.Present("k")), one(true, 5, true, 0)},
		{"revision of no key", kv.Put("k", value, kv.ModRevision("k", 4)), one(false, 5, false, 0)},
		{"absent", kv.Put("k", nil, kv.Absent("k")), one(true, 6, false, 6)},
	} {
		got, err := n.Do(t.Context(), tt.request)
		if err != nil || !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: got %+v, %v, want %+v", tt.name, got, err, tt.want)
		}
	}
}

// one returns the response to a request of one key.
func one(succeeded bool, revision uint64, existed bool, modRevision uint64) kv.Response {
	result := kv.Result{Existed: existed, ModRevision: modRevision}
	if existed && modRevision == 0 {
		result.Deleted = 1
	}
	return kv.Response{Succeeded: succeeded, Revision: revision, Results: []kv.Result{result}}
}

// TestDo_Invalid shows that every part of a request is checked before anything of it is sent.
func TestDo_Invalid(t *testing.T) {
	n := clustertest.Open(t, 1, func(c *cluster.Config) { c.MaxKeyBytes, c.MaxValueBytes = 3, 5 })[0]
	many := make([]kv.Compare, kv.MaxRequestOps+1)
	for i := range many {
		many[i] = kv.Present("k")
	}
	odd := kv.Put("k", nil)
	odd.Then[0].Kind = 99
	for _, tt := range []struct {
		name    string
		request kv.Request
		field   string
		code    kv.Code
	}{
		{"no key", kv.Put("", nil), "then[0].key", kv.CodeInvalid},
		{"long key", kv.Delete("long"), "then[0].key", kv.CodeTooLarge},
		{"long value", kv.Put("k", make([]byte, 6)), "then[0].value", kv.CodeTooLarge},
		{"long values together", kv.Request{Then: []kv.Op{{Kind: kv.OpPut, Key: "a", Value: make([]byte, 3)}, {Kind: kv.OpPut, Key: "b", Value: make([]byte, 3)}}}, "then[1].value", kv.CodeTooLarge},
		{"condition on a long key", kv.Delete("k", kv.Present(strings.Repeat("k", 4))), "if[0].key", kv.CodeTooLarge},
		{"too many conditions", kv.Put("k", nil, many...), "request", kv.CodeInvalid},
		{"nothing to do", kv.Request{}, "request", kv.CodeInvalid},
		{"unknown operation", odd, "then[0].kind", kv.CodeInvalid},
	} {
		_, err := n.Do(t.Context(), tt.request)
		invalid := (*kv.ValidationError)(nil)
		if !errors.As(err, &invalid) || invalid.Field != tt.field || kv.Classify(err).Code != tt.code {
			t.Errorf("%s: got %v, want %s for %s", tt.name, err, tt.code, tt.field)
		}
	}
	if got := n.State().Revision(); got != 1 {
		t.Errorf("got revision %d, want that nothing was done", got)
	}
}

// TestDo_LetsGoOfTheValue shows that a write that waits has its value in memory once: in
// the encoded request, which the budget of writes counts, and not beside that.
func TestDo_LetsGoOfTheValue(t *testing.T) {
	disk := &clustertest.HangingFS{FS: wal.OS()}
	n := clustertest.Open(t, 1, func(c *cluster.Config) { c.FS = disk })[0]
	release := disk.Hang()
	var collected atomic.Bool
	ended := make(chan error, 1)
	go func() {
		value := make([]byte, 1<<20)
		runtime.AddCleanup(&value[0], func(*atomic.Bool) { collected.Store(true) }, &collected)
		_, err := n.Do(t.Context(), kv.Put("k", value))
		ended <- err
	}()
	clustertest.Eventually(t, "the write waits", func() error {
		if n.Stats().Queue.PendingBytes == 0 {
			return errors.New("nothing is pending")
		}
		return nil
	})
	clustertest.Eventually(t, "the value is collected", func() error {
		if runtime.GC(); !collected.Load() {
			return errors.New("it is still there")
		}
		return nil
	})
	release()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if got, err := n.Get(t.Context(), "k", kv.ReadOptions{}); err != nil || len(got.Item.Value) != 1<<20 {
		t.Errorf("got %d bytes, %v", len(got.Item.Value), err)
	}
}
