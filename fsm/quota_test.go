package fsm_test

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kvorum/kvorum/fsm"
	"github.com/kvorum/kvorum/internal/wire"
	"github.com/kvorum/kvorum/kv"
)

// withQuota returns a state machine with a quota and these keys of 1 byte with values of 9.
func withQuota(t *testing.T, quota kv.Quota, keys ...string) *fsm.FSM {
	t.Helper()
	f := newFSM(t)
	mustApply(t, f, 1, 0, fsm.SettingsRequest(kv.Settings{Quota: quota}))
	for i, key := range keys {
		mustApply(t, f, uint64(2+i), 0, putCmd(key, "012345678"))
	}
	return f
}

// TestMakeRoom_WithoutEviction shows which requests keep a quota that is reached: those that make no key, or no data
// longer, and those that write no value.
func TestMakeRoom_WithoutEviction(t *testing.T) {
	put := func(key string, size int, compares ...kv.Compare) kv.Request {
		return kv.Put(key, make([]byte, size), compares...)
	}
	limits := map[string]*fsm.FSM{
		"keys":  withQuota(t, kv.Quota{MaxKeys: 2}, "a", "b"),
		"bytes": withQuota(t, kv.Quota{MaxBytes: 20}, "a", "b"),
		"none":  withQuota(t, kv.Quota{}, "a", "b"),
	}
	for name, tt := range map[string]struct {
		requests []kv.Request
		refused  string // by which of the limits
	}{
		"NewKey":            {[]kv.Request{put("c", 0)}, "keys bytes"},
		"Longer":            {[]kv.Request{put("a", 10)}, "bytes"},
		"SameLength":        {[]kv.Request{put("a", 9)}, ""},
		"Shorter":           {[]kv.Request{put("a", 0)}, ""},
		"LongerAndShorter":  {[]kv.Request{put("a", 12), put("b", 6)}, ""},
		"LongerAndMaybeNot": {[]kv.Request{put("a", 12), put("b", 6, kv.Absent("b"))}, "bytes"},
		"Append":            {[]kv.Request{appendTo("a", 1)}, "bytes"},
		"AppendToNew":       {[]kv.Request{appendTo("c", 1)}, "keys bytes"},
		"DeleteAndNew":      {[]kv.Request{kv.Delete("a"), put("c", 0)}, "keys bytes"},
		"Delete":            {[]kv.Request{kv.Delete("a")}, ""},
		"Grant":             {[]kv.Request{{Then: []kv.Op{{Kind: kv.OpGrant, Lease: 7, TTL: time.Minute}}}}, ""},
		"Touch":             {[]kv.Request{kv.Touch("a", time.Hour), kv.Persist("b")}, ""},
	} {
		var all wire.Requests
		for _, r := range tt.requests {
			all = fsm.Encode(all, r)
		}
		for limit, f := range limits {
			_, _, err := f.MakeRoom(all)
			if refused := strings.Contains(tt.refused, limit); refused != (err != nil) || refused && !errors.Is(err, kv.ErrDataLimit) {
				t.Errorf("%s with a limit of %s: got %v", name, limit, err)
			}
			if partial := (*fsm.QuotaError)(nil); errors.As(err, &partial) && (partial.Grows(encode(kv.Delete("a"))) || !partial.Grows(all)) {
				t.Errorf("%s: the error does not say that these requests are refused, and a delete is not", name)
			}
		}
	}
	_, _, err := limits["keys"].MakeRoom(encode(put("c", 0)))
	if want := "quota.max_keys is 2, there are 2 keys, and this write adds 1"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %s", err, want)
	}
}

// TestMakeRoom_RefusedBeside shows that a request which may be refused when it is applied, or was
// carried out before, makes no room for those beside it in the entry. Alone it is counted exactly.
func TestMakeRoom_RefusedBeside(t *testing.T) {
	lease := kv.Op{Kind: kv.OpPut, Key: "a", Lease: 99}
	shorter := kv.Op{Kind: kv.OpPut, Key: "a"}
	for name, first := range map[string]wire.Requests{
		"Lease":  encode(kv.Request{Then: []kv.Op{lease}}),
		"Replay": once("key", kv.Put("a", nil)),
		"Add":    encode(kv.Request{Then: []kv.Op{shorter, {Kind: kv.OpAdd, Key: "b", Delta: 1}}}),
	} {
		f := withQuota(t, kv.Quota{MaxBytes: 50}, "a", "b")
		mustApply(t, f, 4, 0, putCmd("b", "no number"), once("key", kv.Put("a", nil)), putCmd("a", "012345678"), putCmd("c", strings.Repeat("v", 29)))
		all := first
		second := putCmd("d", "01234567")
		all.Data = append(slices.Clone(first.Data), second.Data...)
		all.Note(second)
		_, _, err := f.MakeRoom(all)
		if partial := (*fsm.QuotaError)(nil); !errors.As(err, &partial) || !partial.Grows(second) {
			t.Errorf("%s: got %v, want a refusal", name, err)
		}
		data, _ := f.Apply(entry(5, 1, 0, all)).([]byte)
		if len(data) == 0 || f.Size() <= 50 {
			t.Errorf("%s: the entry has left %d bytes: the case shows nothing", name, f.Size())
		}
	}
	f := withQuota(t, kv.Quota{MaxBytes: 20}, "a", "b")
	if _, _, err := f.MakeRoom(once("key", kv.Request{Then: []kv.Op{shorter, {Kind: kv.OpPut, Key: "b", Value: make([]byte, 18)}}})); err != nil {
		t.Errorf("one request that adds nothing: %v", err)
	}
}

// TestQuota_BelowWhatIsStored shows that settings with a quota below the data are refused as a
// whole, and that those at it are not.
func TestQuota_BelowWhatIsStored(t *testing.T) {
	f := withQuota(t, kv.Quota{}, "a", "b")
	before := f.Settings()
	for i, quota := range []kv.Quota{{MaxKeys: 1}, {MaxBytes: 19}, {MaxKeys: 1, MaxBytes: 1 << 30}} {
		data, _ := f.Apply(entry(uint64(10+i), 1, 0, fsm.SettingsRequest(kv.Settings{MaxKeyBytes: 7, Quota: quota}))).([]byte)
		_, err := fsm.DecodeResponse(data)
		if !errors.Is(err, kv.ErrQuotaTooLow) || !strings.Contains(err.Error(), "quota.max_") || !reflect.DeepEqual(f.Settings(), before) {
			t.Errorf("%+v: got %v, and settings %+v", quota, err, f.Settings())
		}
	}
	exact := kv.Quota{MaxKeys: 2, MaxBytes: 20}
	mustApply(t, f, 20, 0, fsm.SettingsRequest(kv.Settings{Quota: exact}))
	restored := newFSM(t)
	mustRestore(t, restored, snapshotOf(t, f))
	want := kv.QuotaStatus{MaxKeys: 2, MaxBytes: 20, Eviction: "none", Keys: 2, Bytes: 20}
	for _, each := range []*fsm.FSM{f, restored} {
		if !reflect.DeepEqual(each.Settings().Quota, exact) || each.Quota() != want {
			t.Errorf("got %+v and %+v, want %+v", each.Settings(), each.Quota(), want)
		}
	}
	if r := fsm.SettingsRequest(kv.Settings{Quota: exact}); r.Version != 4 {
		t.Errorf("a quota needs version %d, want 4", r.Version)
	}
}
