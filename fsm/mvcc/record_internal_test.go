package mvcc

import (
	"reflect"
	"testing"

	"github.com/kvorum/kvorum/kv"
)

// FuzzRecord shows that a record has all that its version has, that its size is where the
// next record begins, and that a moved record has all but the previous version.
func FuzzRecord(f *testing.F) {
	f.Add("key", []byte("value"), uint64(5), uint64(5), uint64(1), uint32(0), false, uint8(0), int64(0), int64(0), uint32(0), "", uint64(0))
	f.Add("", []byte{}, uint64(1)<<40, uint64(7), uint64(300), uint32(129), false, uint8(0), int64(-1), int64(1)<<62, uint32(1)<<31, "text/plain", uint64(1)<<40)
	f.Add("gone", []byte{}, uint64(9), uint64(9), uint64(1), uint32(1), true, uint8(200), int64(0), int64(0), uint32(0), "", uint64(77))
	f.Fuzz(func(t *testing.T, key string, value []byte, mod, create, version uint64, order uint32, deleted bool, cause uint8,
		lease, deadline int64, flags uint32, contentType string, previous uint64) {
		if len(contentType) > kv.MaxContentTypeBytes {
			contentType = contentType[:kv.MaxContentTypeBytes]
		}
		mod %= MaxRevision + 1
		if create %= MaxRevision + 1; create > mod {
			mod, create = create, mod
		}
		v := Version{Item: kv.Item{Key: key, ModRevision: mod}, Order: order, Deleted: deleted, Cause: cause}
		if !deleted {
			v = Version{Order: order, Item: kv.Item{
				Key: key, Value: append([]byte{}, value...), CreateRevision: create, ModRevision: mod, Version: version,
				Lease: kv.LeaseID(lease), Deadline: deadline, Flags: flags, ContentType: contentType,
			}}
		}
		var a arena
		a.init(1 << 16)
		for _, step := range []uint8{0, 1, skipEvery - 1} {
			l := link{linked: previous != 0, step: step, previous: ref(previous)}
			if l.linked && step == 0 {
				l.skip, l.skipped = ref(previous/2), previous/3
			}
			checkRecord(t, &a, &v, l)
		}
	})
}

func checkRecord(t *testing.T, a *arena, v *Version, l link) {
	t.Helper()
	r, size := a.put(&a.fresh, v, l)
	rec := a.at(r)
	if got := rec.version(); !reflect.DeepEqual(got, *v) {
		t.Fatalf("got %+v, want %+v", got, *v)
	}
	want := v.Item
	if v.Deleted {
		want = kv.Item{}
	}
	if got := rec.item(); !reflect.DeepEqual(got, want) || rec.exists() == v.Deleted {
		t.Fatalf("got the item %+v, want %+v", got, want)
	}
	if rec.size() != size || rec.key() != v.Item.Key || !rec.hasKey(v.Item.Key) || rec.hasKey(v.Item.Key+"x") {
		t.Fatalf("size %d, want %d", rec.size(), size)
	}
	if rec.previous() != l.previous || rec.head().step() != l.step || rec.head().skips() != (l.linked && l.step == 0) {
		t.Fatalf("previous %d, step %d, skips %t, want %+v", rec.previous(), rec.head().step(), rec.head().skips(), l)
	}
	if rec.head().skips() {
		if skip, skipped := rec.skip(); skip != l.skip || skipped != l.skipped {
			t.Fatalf("skip %d over %d, want %+v", skip, skipped, l)
		}
	}
	moved := a.at(a.move(r))
	if got := moved.version(); !reflect.DeepEqual(got, *v) || moved.previous() != 0 {
		t.Fatalf("moved: got %+v after %d, want %+v", got, moved.previous(), *v)
	}
	if rec.setDead(); !rec.head().has(flagDead) || rec.head().revision() != v.Item.ModRevision || !rec.hasKey(v.Item.Key) {
		t.Fatal("a dead record has changed")
	}
}

// TestRecord_Sizes shows what the memory of usual records is.
func TestRecord_Sizes(t *testing.T) {
	it := kv.Item{Key: "key-000000000001", Value: make([]byte, 100), CreateRevision: 1_000_000, ModRevision: 1_000_000, Version: 1}
	if _, size := layout(&Version{Item: it}, link{}); size != 128 {
		t.Errorf("a new key takes %d bytes, want 128", size)
	}
	it.ModRevision, it.Version = 9_000_000, 100
	if _, size := layout(&Version{Item: it}, link{linked: true, step: 1}); size != 144 {
		t.Errorf("a later version takes %d bytes, want 144", size)
	}
}
