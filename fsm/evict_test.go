package fsm_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/fsm"
	"github.com/kvorum/kvorum/internal/wire"
	"github.com/kvorum/kvorum/kv"
)

// putMakingRoom does what a leader does with a put: it evicts first, in the same entry.
func putMakingRoom(t *testing.T, f *fsm.FSM, index *uint64, request kv.Request) error {
	t.Helper()
	requests := encode(request)
	for {
		evict, done, err := f.MakeRoom(requests)
		if err != nil {
			return err
		}
		*index++
		if !done {
			mustApply(t, f, *index, 0, evict)
			continue
		}
		all := []wire.Requests{requests}
		if evict.Count > 0 {
			all = []wire.Requests{evict, requests}
		}
		mustApply(t, f, *index, 0, all...)
		return nil
	}
}

// keysOf returns all keys, with spaces between them.
func keysOf(t *testing.T, f *fsm.FSM) string {
	t.Helper()
	var keys []string
	for _, it := range itemsOf(t, f) {
		keys = append(keys, it.Key)
	}
	return strings.Join(keys, " ")
}

// TestEvict shows which key each policy evicts where it is not a matter of luck, that a protected
// key is none of them, and nor is one that the request itself writes.
func TestEvict(t *testing.T) { synctest.Test(t, testEvict) }

func testEvict(t *testing.T) {
	for eviction, want := range map[kv.Eviction]string{
		kv.EvictionLRU: "a c d new p/a", kv.EvictionLFU: "a b d new p/a", kv.EvictionTTL: "a b c new p/a", kv.EvictionRandom: "",
	} {
		f := newFSM(t)
		quota := kv.Quota{MaxKeys: 5, Eviction: eviction, ProtectedPrefixes: []string{"p/"}}
		mustApply(t, f, 1, 0, fsm.SettingsRequest(kv.Settings{Quota: quota}))
		for i, key := range []string{"p/a", "b", "c", "d", "a"} {
			mustApply(t, f, uint64(2+i), 0, encode(kv.PutTTL(key, nil, time.Duration(10-2*i)*time.Hour)))
		}
		mustApply(t, f, 7, 0, encode(kv.Persist("a")))
		read := func(key string, times int) {
			for range times {
				f.Get(key)
			}
			time.Sleep(2 * time.Millisecond)
		}
		index := uint64(7)
		read("b", 9)
		read("a", 9)
		read("d", 9)
		read("c", 1)
		if err := putMakingRoom(t, f, &index, kv.Put("new", nil)); err != nil {
			t.Fatalf("%s: %v", eviction, err)
		}
		got := keysOf(t, f)
		if want != "" && got != want || f.Len() != 5 || !strings.Contains(got, "p/a") || !strings.Contains(got, "new") {
			t.Errorf("%s: got %s, want %s", eviction, got, want)
		}
		if n := f.Quota().Evicted; n != 1 {
			t.Errorf("%s: %d keys were evicted, want 1", eviction, n)
		}
	}
}

// TestEvict_Refused shows that a put is refused, and nothing is evicted, if there are too few keys
// that may be: because all others are protected, have no deadline, or because the put is too large.
func TestEvict_Refused(t *testing.T) {
	for name, tt := range map[string]struct {
		quota kv.Quota
		put   kv.Request
	}{
		"Protected":  {kv.Quota{MaxKeys: 2, Eviction: kv.EvictionLRU, ProtectedPrefixes: []string{"a", "b"}}, kv.Put("c", nil)},
		"NoDeadline": {kv.Quota{MaxKeys: 2, Eviction: kv.EvictionTTL}, kv.Put("c", nil)},
		"TooLarge":   {kv.Quota{MaxBytes: 20, Eviction: kv.EvictionLFU}, kv.Put("c", make([]byte, 20))},
		"Written": {kv.Quota{MaxKeys: 2, Eviction: kv.EvictionRandom}, kv.Request{Then: []kv.Op{
			{Kind: kv.OpPut, Key: "a"}, {Kind: kv.OpPut, Key: "b"}, {Kind: kv.OpPut, Key: "c"},
		}}},
	} {
		f, index := withQuota(t, tt.quota, "a", "b"), uint64(3)
		err := putMakingRoom(t, f, &index, tt.put)
		if !errors.Is(err, kv.ErrDataLimit) || keysOf(t, f) != "a b" || f.Quota().Evicted != 0 {
			t.Errorf("%s: got %v, and the keys %s", name, err, keysOf(t, f))
		}
		if err := putMakingRoom(t, f, &index, kv.Put("a", []byte("012345678"))); err != nil {
			t.Errorf("%s: a put that adds nothing: %v", name, err)
		}
	}
}

// TestEvict_ManyForOne shows that a large value takes the place of many small ones, by several
// entries, and that the quota is exact.
func TestEvict_ManyForOne(t *testing.T) {
	const keys = 3000
	f := newFSM(t)
	mustApply(t, f, 1, 0, fsm.SettingsRequest(kv.Settings{Quota: kv.Quota{MaxBytes: 10 * keys, Eviction: kv.EvictionLRU}}))
	index := uint64(1)
	for i := range keys {
		if err := putMakingRoom(t, f, &index, kv.Put(fmt.Sprintf("k%04d", i), []byte("12345"))); err != nil {
			t.Fatal(err)
		}
	}
	if f.Size() != 10*keys || f.Quota().Evicted != 0 {
		t.Fatalf("got %d bytes", f.Size())
	}
	if err := putMakingRoom(t, f, &index, kv.Put("large", make([]byte, 9*keys-5))); err != nil {
		t.Fatal(err)
	}
	if f.Size() != 10*keys || f.Len() != 1+keys/10 {
		t.Errorf("got %d keys of %d bytes, want %d of %d", f.Len(), f.Size(), 1+keys/10, 10*keys)
	}
}

// TestEvict_WritesAreNoReads shows that a key which is often written, where the quota is reached, does
// not count as often read.
func TestEvict_WritesAreNoReads(t *testing.T) {
	f, index := withQuota(t, kv.Quota{MaxKeys: 2, Eviction: kv.EvictionLFU}, "a", "b"), uint64(3)
	f.Get("b")
	for range 20 {
		if err := putMakingRoom(t, f, &index, kv.Put("a", []byte("v"))); err != nil {
			t.Fatal(err)
		}
	}
	if err := putMakingRoom(t, f, &index, kv.Put("c", nil)); err != nil || keysOf(t, f) != "b c" {
		t.Errorf("got %v, and the keys %s, want b c", err, keysOf(t, f))
	}
}

// TestEvict_RefusedLarge shows that nothing is evicted for a put that needs the room of more keys than
// one request evicts, if there are not enough: with deadlines, or beside those that it writes itself.
func TestEvict_RefusedLarge(t *testing.T) {
	const keys = 2500
	for _, eviction := range []kv.Eviction{kv.EvictionTTL, kv.EvictionLRU} {
		f, all := newFSM(t), wire.Requests{}
		for i := range keys {
			r := kv.Put(fmt.Sprintf("k%04d", i), []byte("12345"))
			if eviction == kv.EvictionTTL && i < 2000 {
				r = kv.PutTTL(fmt.Sprintf("k%04d", i), nil, time.Hour)
			}
			all = fsm.Encode(all, r)
		}
		mustApply(t, f, 1, 0, all)
		quota := kv.Quota{MaxBytes: f.Size(), Eviction: eviction}
		mustApply(t, f, 2, 0, fsm.SettingsRequest(kv.Settings{Quota: quota}))
		large := kv.Request{Then: []kv.Op{{Kind: kv.OpPut, Key: "large", Value: make([]byte, f.Size()-1000)}}}
		for i := range 200 {
			large.Then = append(large.Then, kv.Op{Kind: kv.OpPut, Key: fmt.Sprintf("k%04d", i), Value: make([]byte, 5)})
		}
		index := uint64(2)
		if err := putMakingRoom(t, f, &index, large); !errors.Is(err, kv.ErrDataLimit) || f.Len() != keys {
			t.Errorf("%s: got %v, and %d keys remain of %d", eviction, err, f.Len(), keys)
		}
	}
}

// TestShrink shows that keys which are too many for a lower quota are evicted by bounded requests,
// and that a put meanwhile does not make them more.
func TestShrink(t *testing.T) {
	f, index := newFSM(t), uint64(0)
	for i := range 2500 {
		index++
		mustApply(t, f, index, 0, putCmd(fmt.Sprint(i), "v"))
	}
	index++
	mustApply(t, f, index, 0, fsm.SettingsRequest(kv.Settings{Quota: kv.Quota{MaxKeys: 100, Eviction: kv.EvictionRandom}}))
	for _, want := range []int{1500, 500, 100, 100} {
		if err := putMakingRoom(t, f, &index, kv.Put(fmt.Sprint("new", want), nil)); err != nil {
			t.Fatal(err)
		}
		if evict := f.Shrink(); evict.Count > 0 {
			index++
			mustApply(t, f, index, 0, evict)
		}
		if f.Len() != want {
			t.Errorf("got %d keys, want %d", f.Len(), want)
		}
	}
}

// TestEvict_Apply shows what an entry that evicts does: it deletes those keys that have not changed
// since, at one revision and with an event of its own; a key that has expired meanwhile expires.
func TestEvict_Apply(t *testing.T) {
	f, other := newFSM(t), newFSM(t)
	evict := encodeEvict("changed", 5, "there", 3, "due", 4, "none", 1)
	for _, each := range []*fsm.FSM{f, other} {
		mustApply(t, each, 1, 0, fsm.HistoryRequest(), putCmd("changed", "1"), putCmd("there", "1"), encode(kv.PutTTL("due", nil, time.Second)), putCmd("changed", "2"), putCmd("changed", "3"))
		mustApply(t, each, 2, int64(time.Minute), evict, checkpointCmd)
	}
	if got := keysOf(t, f); got != "changed" || f.Revision() != 7 {
		t.Errorf("got %s at revision %d, want changed at 7", got, f.Revision())
	}
	if a, b := newestHash(t, f), newestHash(t, other); a != b || !bytes.Equal(snapshotOf(t, f), snapshotOf(t, other)) {
		t.Error("replicas differ")
	}
	restored := newFSM(t)
	mustRestore(t, restored, snapshotOf(t, f))
	for _, each := range []*fsm.FSM{f, restored} {
		w, err := each.Watch(kv.WatchOptions{Span: kv.All(), From: 7})
		if err != nil {
			t.Fatal(err)
		}
		batch, err := w.Next(t.Context())
		if err != nil || batch.Revision != 7 || len(batch.Events) != 2 {
			t.Fatalf("got %+v, %v", batch, err)
		}
		for i, want := range []struct {
			kind kv.EventKind
			key  string
		}{{kv.EventEvict, "there"}, {kv.EventExpire, "due"}} {
			if e := batch.Events[i]; e.Kind != want.kind || e.Item.Key != want.key {
				t.Errorf("got %v of %s, want %v of %s", e.Kind, e.Item.Key, want.kind, want.key)
			}
		}
		w.Close()
	}
}

// encodeEvict returns the request that evicts keys, each with its mod revision.
func encodeEvict(victims ...any) wire.Requests {
	payload := []byte{byte(len(victims) / 2)}
	for pair := range slices.Chunk(victims, 2) {
		payload = append(wire.AppendBytes(payload, pair[0].(string)), byte(pair[1].(int)))
	}
	body := append([]byte{0x8e}, wire.AppendBytes(nil, string(payload))...)
	return wire.Requests{Data: wire.AppendBytes(nil, string(body)), Count: 1, Version: 4, Internal: true}
}

// TestCodec_GoldenV4Evict is TestCodec_Golden for an entry with a quota, and one that evicts.
func TestCodec_GoldenV4Evict(t *testing.T) {
	quota := kv.Quota{MaxKeys: 2, MaxBytes: 300, Eviction: kv.EvictionTTL, ProtectedPrefixes: []string{"config/", "p"}}
	all := fsm.SettingsRequest(kv.Settings{MaxKeyBytes: 100, Quota: quota})
	evict := encodeEvict("a", 2)
	first := [][]byte{all.Data, evict.Data}
	all.Note(evict)
	checkGolden(t, "entry-v4-evict.golden", fsm.AppendEntry(nil, 1_700_000_000_123_456_789, all.Version, all.Count, first...))
	f := newFSM(t)
	mustApply(t, f, 1, 0, fsm.HistoryRequest(), putCmd("a", "1"), putCmd("b", "2"))
	if _, ok := f.Apply(&raft.Log{Index: 2, Term: 1, Data: golden(t, "entry-v4-evict.golden")}).([]byte); !ok {
		t.Fatal("the entry was not applied")
	}
	checkGolden(t, "snapshot-v4-evict.golden", snapshotOf(t, f))
	restored := newFSM(t)
	mustRestore(t, restored, golden(t, "snapshot-v4-evict.golden"))
	if got := restored.Quota(); got.MaxKeys != 2 || got.MaxBytes != 300 || got.Eviction != "ttl" || got.Keys != 1 {
		t.Errorf("got %+v", got)
	}
	if got := restored.Settings().Quota.ProtectedPrefixes; !slices.Equal(got, quota.ProtectedPrefixes) {
		t.Errorf("got the prefixes %q", got)
	}
}

// TestReads_OfAnotherReplica shows that reads on a follower, of which the leader gets a sample, keep
// keys from being evicted, and that the sample has about their number.
func TestReads_OfAnotherReplica(t *testing.T) {
	for _, eviction := range []kv.Eviction{kv.EvictionLRU, kv.EvictionLFU} {
		synctest.Test(t, func(t *testing.T) {
			const keys, hot, reads = 200, 20, 400
			leader, follower := newFSM(t), newFSM(t)
			index := uint64(1)
			for _, f := range []*fsm.FSM{leader, follower} {
				mustApply(t, f, 1, 0, fsm.SettingsRequest(kv.Settings{Quota: kv.Quota{MaxKeys: keys, Eviction: eviction}}))
				var puts []wire.Requests
				for i := range keys {
					puts = append(puts, putCmd(fmt.Sprintf("k%03d", i), "v"))
				}
				mustApply(t, f, 2, 0, puts...)
			}
			index++
			if len(follower.TakeReads()) > 0 || !leader.NotesReads() {
				t.Error("a sample of no reads")
			}
			for range 10 { // each second a sample
				time.Sleep(time.Second)
				for i := range reads {
					follower.Get(fmt.Sprintf("k%03d", i%hot))
				}
				sample := follower.TakeReads()
				if err := leader.NoteReads(sample); err != nil {
					t.Fatal(err)
				}
			}
			for i := range keys / 2 {
				if err := putMakingRoom(t, leader, &index, kv.Put(fmt.Sprint("new", i), nil)); err != nil {
					t.Fatal(err)
				}
			}
			left := 0
			for i := range hot {
				if _, found := leader.Get(fmt.Sprintf("k%03d", i)); found {
					left++
				}
			}
			if left < hot*9/10 {
				t.Errorf("%s: %d of the %d keys that the follower has read are left", eviction, left, hot)
			}
		})
	}
}

// TestReads_Malformed shows that a sample which is cut short, or has too many keys, is refused.
func TestReads_Malformed(t *testing.T) {
	f := withQuota(t, kv.Quota{MaxKeys: 2, Eviction: kv.EvictionLRU}, "a")
	one := append(wire.AppendBytes(nil, "a"), 1)
	for _, sample := range [][]byte{one[:2], {5, 'a'}, bytes.Repeat(one, 1025)} {
		if err := f.NoteReads(sample); !errors.Is(err, fsm.ErrMalformed) {
			t.Errorf("%d bytes: got %v", len(sample), err)
		}
	}
	if err := f.NoteReads(bytes.Repeat(one, 1024)); err != nil {
		t.Error(err)
	}
}
