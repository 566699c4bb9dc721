package fsm_test

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"pgregory.net/rapid"

	"github.com/kvorum/kvorum/fsm"
	"github.com/kvorum/kvorum/internal/wire"
	"github.com/kvorum/kvorum/kv"
)

func grantCmd(id kv.LeaseID, ttl time.Duration) wire.Requests { return encode(kv.Grant(id, ttl)) }

func attach(key string, lease kv.LeaseID) kv.Request {
	return kv.Request{Then: []kv.Op{{Kind: kv.OpPut, Key: key, Lease: lease}}}
}

// TestLease_GrantAndRevoke shows what grants and revokes do, which of them are refused, and that
// a refused one does nothing.
func TestLease_GrantAndRevoke(t *testing.T) {
	f := newFSM(t)
	mustApply(t, f, 1, 0, fsm.HistoryRequest(), putCmd("free", "1"))
	revision := f.Revision()
	granted := mustApply(t, f, 2, 0, grantCmd(7, time.Millisecond), grantCmd(-7, time.Hour), grantCmd(0, kv.MaxLeaseTTL), grantCmd(0, time.Minute))
	ids := map[kv.LeaseID]time.Duration{}
	for i, r := range granted {
		if r.Revision != revision || !r.Succeeded || len(r.Results) != 1 {
			t.Errorf("grant %d: got %+v, want revision %d", i, r, revision)
		}
		ids[r.Results[0].Lease] = r.Results[0].TTL
	}
	if a, b := granted[2].Results[0].Lease, granted[3].Results[0].Lease; a <= 0 || b <= 0 || a == b {
		t.Errorf("chosen ids are %d and %d", a, b)
	}
	if want := (map[kv.LeaseID]time.Duration{7: kv.MinLeaseTTL, -7: time.Hour, granted[2].Results[0].Lease: kv.MaxLeaseTTL, granted[3].Results[0].Lease: time.Minute}); !maps.Equal(ids, want) {
		t.Errorf("leases are %v, want %v", ids, want)
	}
	for name, tt := range map[string]struct {
		request kv.Request
		want    error
	}{
		"grant twice":     {kv.Grant(7, time.Hour), kv.ErrLeaseExists},
		"revoke unknown":  {kv.Revoke(8), kv.ErrLeaseNotFound},
		"put with none":   {attach("k", 8), kv.ErrLeaseNotFound},
		"put beside that": {kv.Request{Then: []kv.Op{{Kind: kv.OpPut, Key: "l", Lease: 7}, {Kind: kv.OpPut, Key: "k", Lease: 8}}}, kv.ErrLeaseNotFound},
	} {
		if _, err := outcomeOf(t, f, 0, encode(tt.request)); !errors.Is(err, tt.want) {
			t.Errorf("%s: got %v, want %v", name, err, tt.want)
		}
	}
	if f.Revision() != revision || f.LeaseCount() != 4 {
		t.Errorf("refused requests left revision %d and %d leases", f.Revision(), f.LeaseCount())
	}
	mustApply(t, f, f.AppliedIndex()+1, 0, encode(attach("b", 7)), encode(attach("a", 7)), encode(attach("c", -7)), encode(attach("c", 7)), encode(attach("d", 7)), putCmd("d", "detached"))
	if keys, found := f.LeaseKeys(7); !found || !slices.Equal(keys, []string{"a", "b", "c"}) {
		t.Errorf("keys of the lease are %q %t", keys, found)
	}
	revoked, err := outcomeOf(t, f, 0, encode(kv.Revoke(7)))
	if err != nil || revoked.Results[0].Deleted != 3 || revoked.Revision != revision+7 || f.Revision() != revoked.Revision {
		t.Errorf("revoke: got %+v %v", revoked, err)
	}
	empty, err := outcomeOf(t, f, 0, encode(kv.Revoke(-7)))
	if err != nil || empty.Results[0].Deleted != 0 || empty.Revision != revoked.Revision {
		t.Errorf("revoke without keys: got %+v %v", empty, err)
	}
	if _, found := f.LeaseKeys(7); found || f.LeaseCount() != 2 || len(itemsOf(t, f)) != 2 {
		t.Errorf("%d leases and %v are left", f.LeaseCount(), itemsOf(t, f))
	}
}

// TestLease_KeptByOtherWrites shows that adds, appends, touches and persists leave the lease of
// their key as it is, and that a key which expires by its own deadline is detached.
func TestLease_KeptByOtherWrites(t *testing.T) {
	f := newFSM(t)
	mustApply(t, f, 1, 0, grantCmd(7, time.Hour),
		encode(kv.Request{Then: []kv.Op{{Kind: kv.OpPut, Key: "k", Value: []byte("1"), Lease: 7, TTL: time.Second}}}))
	mustApply(t, f, 2, 0, encode(kv.Request{Then: []kv.Op{{Kind: kv.OpAdd, Key: "k", Delta: 1}}}),
		encode(kv.Request{Then: []kv.Op{{Kind: kv.OpAppend, Key: "k", Value: []byte("1"), MaxBytes: 9}}}),
		encode(kv.Persist("k")), encode(kv.Touch("k", time.Second)))
	if it := itemsOf(t, f)[0]; it.Lease != 7 || it.Version != 5 || string(it.Value) != "21" {
		t.Errorf("got %+v", it)
	}
	compare := kv.Compare{Span: kv.One("k"), Target: kv.TargetLease, Relation: kv.Equal, Number: 7}
	if got := mustApply(t, f, 3, 0, encode(kv.Put("same", nil, compare))); !got[0].Succeeded {
		t.Error("the lease is not what it is compared with")
	}
	mustApply(t, f, 4, int64(2*time.Second), fsm.ClockRequest())
	if keys, _ := f.LeaseKeys(7); len(keys) != 0 || f.LeaseLen(7) != 1 {
		t.Errorf("a hidden key is shown: %q", keys)
	}
	got := mustApply(t, f, 5, 0, encode(kv.Revoke(7)))
	if got[0].Results[0].Deleted != 0 || f.LeaseLen(7) != 0 || f.Expiring() != 0 {
		t.Errorf("after the revoke: %+v, %d keys, %d deadlines", got, f.LeaseLen(7), f.Expiring())
	}
}

// TestLease_ExpireRequest shows when the request of a leader ends leases: in its own term only,
// and only leases that the leader knew.
func TestLease_ExpireRequest(t *testing.T) {
	f := newFSM(t)
	mustApply(t, f, 1, 0, grantCmd(1, time.Hour), grantCmd(2, time.Hour), grantCmd(3, time.Hour), encode(attach("b", 1)), encode(attach("a", 2)))
	mustApply(t, f, 2, 0, encode(kv.Revoke(3)))
	mustApply(t, f, 3, 0, grantCmd(3, time.Hour))
	before := f.Revision()
	mustApply(t, f, 4, 0, fsm.ExpireLeasesRequest(2, 3, []kv.LeaseID{1, 2, 3})) // of another term
	mustApply(t, f, 5, 0, fsm.ExpireLeasesRequest(1, 2, []kv.LeaseID{3, 9}))    // the lease was made later
	if f.LeaseCount() != 3 || f.Revision() != before {
		t.Fatalf("%d leases are left", f.LeaseCount())
	}
	hub := f.Revision() + 1
	mustApply(t, f, 6, 0, fsm.ExpireLeasesRequest(1, 2, []kv.LeaseID{2, 9, 1, 3}))
	if f.LeaseCount() != 1 || f.Revision() != hub || len(itemsOf(t, f)) != 0 {
		t.Errorf("%d leases, revision %d, items %v", f.LeaseCount(), f.Revision(), itemsOf(t, f))
	}
}

// TestLease_Limits shows that the numbers of leases and of the keys of one are limited.
func TestLease_Limits(t *testing.T) {
	f := fsm.New(fsm.Config{Seams: fsm.Seams{MaxLeases: 2, MaxLeaseKeys: 3}})
	defer func() { _ = f.Close() }()
	mustApply(t, f, 1, 0, grantCmd(1, time.Hour), grantCmd(2, time.Hour), encode(attach("a", 1)), encode(attach("b", 1)))
	if _, err := outcomeOf(t, f, 0, grantCmd(3, time.Hour)); !errors.Is(err, kv.ErrOverloaded) {
		t.Errorf("one lease more: got %v", err)
	}
	two := kv.Request{Then: []kv.Op{{Kind: kv.OpPut, Key: "c", Lease: 1}, {Kind: kv.OpRequest, Nested: &kv.Request{Then: []kv.Op{{Kind: kv.OpPut, Key: "d", Lease: 1}}}}}}
	if _, err := outcomeOf(t, f, 0, encode(two)); !errors.Is(err, kv.ErrKeyLimit) {
		t.Errorf("two keys more: got %v", err)
	}
	for _, key := range []string{"c", "a"} {
		if _, err := outcomeOf(t, f, 0, encode(attach(key, 1))); err != nil {
			t.Errorf("put of %s: %v", key, err)
		}
	}
	if _, err := outcomeOf(t, f, 0, encode(attach("d", 1))); !errors.Is(err, kv.ErrKeyLimit) || f.LeaseLen(1) != 3 {
		t.Errorf("one key more: got %v with %d keys", err, f.LeaseLen(1))
	}
}

// TestLease_IdempotentGrant shows that a grant that is sent again has the first one's lease, also
// if the state machine has chosen its id.
func TestLease_IdempotentGrant(t *testing.T) {
	f := newFSM(t)
	first, err := outcomeOf(t, f, 0, once("k", kv.Grant(0, time.Hour)))
	if err != nil {
		t.Fatal(err)
	}
	again, err := outcomeOf(t, f, 0, once("k", kv.Grant(0, time.Hour)))
	if err != nil || !again.Replayed || !reflect.DeepEqual(again.Results, first.Results) || f.LeaseCount() != 1 {
		t.Errorf("again: got %+v %v, want %+v", again, err, first)
	}
}

// TestLease_Leases lists leases in parts.
func TestLease_Leases(t *testing.T) {
	f := newFSM(t)
	order := []kv.LeaseID{1, 2, math.MaxInt64, math.MinInt64, -1}
	for _, i := range []int{3, 0, 4, 1, 2} {
		mustApply(t, f, f.AppliedIndex()+1, 0, grantCmd(order[i], time.Hour))
	}
	for limit := 1; limit <= 6; limit++ {
		var got []kv.LeaseID
		for list := (kv.LeaseList{More: true}); list.More; {
			after := kv.LeaseID(0)
			if len(got) > 0 {
				after = got[len(got)-1]
			}
			list = f.Leases(after, limit)
			for _, l := range list.Leases {
				got = append(got, l.ID)
			}
		}
		if !slices.Equal(got, order) {
			t.Errorf("in parts of %d: got %d, want %d", limit, got, order)
		}
	}
}

// TestLease_Model compares leases and their keys with maps, after entries and after a restore,
// and follows their changes.
func TestLease_Model(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := fsm.New(fsm.Config{})
		defer func() { _ = f.Close() }()
		clock := int64(0)
		leases, keys := map[kv.LeaseID]bool{}, map[string]kv.LeaseID{}
		feed, followed := f.FollowLeases(), map[kv.LeaseID]uint64{}
		ended := func(id kv.LeaseID) {
			delete(leases, id)
			maps.DeleteFunc(keys, func(_ string, of kv.LeaseID) bool { return of == id })
		}
		apply := func(r wire.Requests) (kv.Response, error) {
			clock++
			data := f.Apply(entry(f.AppliedIndex()+1, 1, clock, r)).([]byte)
			return fsm.DecodeResponse(data)
		}
		mustApply(t, f, 1, 0, fsm.HistoryRequest())
		id := rapid.SampledFrom([]kv.LeaseID{1, 2, 3, -4})
		t.Repeat(map[string]func(*rapid.T){
			"grant": func(t *rapid.T) {
				id := id.Draw(t, "id")
				if _, err := apply(grantCmd(id, time.Hour)); errors.Is(err, kv.ErrLeaseExists) != leases[id] {
					t.Fatalf("grant of %d: %v", id, err)
				}
				leases[id] = true
			},
			"put": func(t *rapid.T) {
				key, id := fmt.Sprint(rapid.IntRange(0, 9).Draw(t, "key")), rapid.OneOf(id, rapid.Just(kv.LeaseID(0))).Draw(t, "id")
				_, err := apply(encode(attach(key, id)))
				if ok := id == 0 || leases[id]; ok != (err == nil) {
					t.Fatalf("put of %s at %d: %v", key, id, err)
				} else if ok {
					keys[key] = id
				}
			},
			"delete": func(t *rapid.T) {
				key := fmt.Sprint(rapid.IntRange(0, 9).Draw(t, "key"))
				_, _ = apply(delCmd(key))
				delete(keys, key)
			},
			"revoke": func(t *rapid.T) {
				id := id.Draw(t, "id")
				if _, err := apply(encode(kv.Revoke(id))); leases[id] != (err == nil) {
					t.Fatalf("revoke of %d: %v", id, err)
				}
				ended(id)
			},
			"expire": func(t *rapid.T) {
				ids := rapid.SliceOfN(id, 0, 3).Draw(t, "ids")
				before, had := f.Revision(), len(keys)
				_, _ = apply(fsm.ExpireLeasesRequest(1, f.AppliedIndex(), ids))
				for _, id := range ids {
					ended(id)
				}
				if want := before + min(1, uint64(had-len(keys))); f.Revision() != want {
					t.Fatalf("the expiry took the revision from %d to %d", before, f.Revision())
				}
			},
			"restore": func(t *rapid.T) {
				snapshot := snapshotOf(t, f)
				restored := fsm.New(fsm.Config{})
				mustRestore(t, restored, snapshot)
				if string(snapshotOf(t, restored)) != string(snapshot) {
					t.Fatal("the snapshot of the restored state is another one")
				}
				_ = f.Close()
				f = restored
				feed, followed = f.FollowLeases(), map[kv.LeaseID]uint64{}
			},
			"": func(t *rapid.T) {
				for _, it := range itemsOf(t, f) {
					if lease, exists := keys[it.Key]; !exists || it.Lease != lease {
						t.Fatalf("%s has the lease %d, want %d %t", it.Key, it.Lease, lease, exists)
					}
				}
				changes, ok := feed.Take()
				for _, c := range changes {
					if followed[c.ID] = c.Granted; c.Ended {
						delete(followed, c.ID)
					}
				}
				if !ok || len(followed) != len(leases) || len(f.Leases(0, 10).Leases) != len(leases) || len(itemsOf(t, f)) != len(keys) {
					t.Fatalf("%d leases are followed, %d listed, want %d; %d keys, want %d",
						len(followed), len(f.Leases(0, 10).Leases), len(leases), len(itemsOf(t, f)), len(keys))
				}
				for id := range leases {
					got, found := f.LeaseKeys(id)
					want := 0
					for key, of := range keys {
						if of == id {
							want++
							if !slices.Contains(got, key) {
								t.Fatalf("%s is missing from %q", key, got)
							}
						}
					}
					if !found || want != len(got) || followed[id] == 0 {
						t.Fatalf("lease %d has %q, found %t, want %d", id, got, found, want)
					}
				}
			},
		})
	})
}

// goldenRequestsLease has one request of each kind about leases.
func goldenRequestsLease() (all wire.Requests) {
	for _, r := range []kv.Request{
		kv.Grant(-300, time.Millisecond), kv.Grant(0, kv.MaxLeaseTTL), kv.Grant(7, time.Hour), kv.Grant(8, time.Minute),
		{Then: []kv.Op{
			{Kind: kv.OpPut, Key: "a", Value: []byte("1"), Lease: 7},
			{Kind: kv.OpPut, Key: "b", Lease: -300, TTL: time.Minute, Flags: 3, ContentType: "text/plain", WantPrev: true},
		}},
		attach("c", 7), attach("c", 8), kv.Revoke(7),
	} {
		all = fsm.Encode(all, r)
	}
	return all
}

// TestCodec_GoldenLease is TestCodec_Golden for leases, and for a snapshot with some.
func TestCodec_GoldenLease(t *testing.T) {
	all := goldenRequestsLease()
	checked, err := check(all.Version, all.Count, all.Data)
	if err != nil || !reflect.DeepEqual(checked, all) {
		t.Fatalf("checked: got %+v %v, want %+v", checked, err, all)
	}
	expire := fsm.ExpireLeasesRequest(1, 300, []kv.LeaseID{8, -9})
	parts := [][]byte{all.Data, expire.Data}
	all.Note(expire)
	checkGolden(t, "entry-v4-lease.golden", fsm.AppendEntry(nil, 1_700_000_000_123_456_789, all.Version, all.Count, parts...))
	f := newFSM(t)
	responses, ok := f.Apply(&raft.Log{Index: 2, Term: 1, Data: golden(t, "entry-v4-lease.golden")}).([]byte)
	if !ok {
		t.Fatal("the entry was not applied")
	}
	checkGolden(t, "responses-v4-lease.golden", responses)
	checkGolden(t, "snapshot-v4-lease.golden", snapshotOf(t, f))
	got := responsesOf(t, golden(t, "responses-v4-lease.golden"))
	if a, b := got[0].Results[0], got[1].Results[0]; a.Lease != -300 || a.TTL != kv.MinLeaseTTL || b.Lease <= 0 || b.TTL != kv.MaxLeaseTTL || got[7].Results[0].Deleted != 1 {
		t.Errorf("got %+v", got)
	}
	restored := newFSM(t)
	mustRestore(t, restored, golden(t, "snapshot-v4-lease.golden"))
	if keys, found := restored.LeaseKeys(-300); !found || !slices.Equal(keys, []string{"b"}) || restored.LeaseCount() != 2 || restored.Len() != 1 {
		t.Errorf("restored %d leases, %d keys, %q of one", restored.LeaseCount(), restored.Len(), keys)
	}
}

// TestLeaseFeed_Ends shows that a feed says so when it is replaced, and when the state is.
func TestLeaseFeed_Ends(t *testing.T) {
	f := newFSM(t)
	mustApply(t, f, 1, 0, grantCmd(1, time.Hour))
	first := f.FollowLeases()
	second := f.FollowLeases()
	<-first.Changed()
	if _, ok := first.Take(); ok {
		t.Error("the first feed has not ended")
	}
	if changes, ok := second.Take(); !ok || len(changes) != 1 || changes[0].TTL != time.Hour || changes[0].Granted != 1 {
		t.Errorf("got %+v %t", changes, ok)
	}
	mustApply(t, f, 2, 0, grantCmd(2, time.Hour))
	<-second.Changed()
	mustRestore(t, f, snapshotOf(t, f))
	<-second.Changed()
	if changes, ok := second.Take(); ok || len(changes) > 0 {
		t.Errorf("after a restore: got %+v %t", changes, ok)
	}
}
