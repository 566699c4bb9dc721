package fsm_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"os"
	"path/filepath"
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

var update = flag.Bool("update", false, "rewrite the golden files in testdata")

// goldenRequests returns one request of each kind, for the golden files.
func goldenRequests() (all wire.Requests) {
	for _, r := range []kv.Request{
		kv.Put("key", []byte("value")),
		kv.Put("\x00\xff", nil, kv.Absent("\x00\xff")),
		kv.Delete("key", kv.ModRevision("key", 300)),
		kv.Delete("key", kv.Present("key")),
		{If: []kv.Compare{kv.Present("a"), kv.Absent("b")}, Then: []kv.Op{{Kind: kv.OpPut, Key: "b", Value: []byte("v")}, {Kind: kv.OpDelete, Span: kv.One("a")}}},
	} {
		all = fsm.Encode(all, r)
	}
	return all
}

func goldenEntry() []byte {
	all := goldenRequests()
	parts := [][]byte{all.Data}
	for _, r := range []wire.Requests{fsm.ClockRequest(), fsm.RetireRequest("n1.4f2a"), fsm.CheckpointRequest()} {
		all.Note(r)
		parts = append(parts, r.Data)
	}
	return fsm.AppendEntry(nil, 1_700_000_000_123_456_789, all.Version, all.Count, parts...)
}

// TestCodec_Golden shows that the encoding is still that of the logs that exist: a change
// of it needs a new version.
func TestCodec_Golden(t *testing.T) {
	checkGolden(t, "entry-v2.golden", goldenEntry())
	f := newFSM(t)
	mustApply(t, f, 1, 0, putCmd("key", "value"), putCmd("a", "v"))
	responses, ok := f.Apply(&raft.Log{Index: 2, Term: 1, Data: golden(t, "entry-v2.golden")}).([]byte)
	if !ok {
		t.Fatal("the entry was not applied")
	}
	checkGolden(t, "responses-v2.golden", responses)
	want := []kv.Response{
		{Succeeded: true, Revision: 3, Results: []kv.Result{{Existed: true, ModRevision: 3}}},
		{Succeeded: true, Revision: 4, Results: []kv.Result{{ModRevision: 4}}},
		{Revision: 4, Results: []kv.Result{{Existed: true, ModRevision: 3}}},
		{Succeeded: true, Revision: 5, Results: []kv.Result{{Existed: true, Deleted: 1}}},
		{Succeeded: true, Revision: 6, Results: []kv.Result{{ModRevision: 6}, {Existed: true, Deleted: 1}}},
		{Succeeded: true, Revision: 6}, {Succeeded: true, Revision: 6}, {Succeeded: true, Revision: 6},
	}
	if got := responsesOf(t, golden(t, "responses-v2.golden")); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if f.Clock() != 1_700_000_000_123_456_789 || !f.Retired("n1.4f2a") || len(f.Checkpoints()) != 1 || f.WrittenSince(0) != 2 {
		t.Errorf("got clock %d, %d retired, %d checkpoints, version %d", f.Clock(), f.RetiredCount(), len(f.Checkpoints()), f.WrittenSince(0))
	}
}

// TestEncode_FactsAreThoseOfCheck shows that the encoder and Check find the same facts
// about requests.
func TestEncode_FactsAreThoseOfCheck(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		requests := rapid.SliceOfN(requestGen(), 1, 5).Draw(t, "requests")
		var all wire.Requests
		puts, bytesOf := 0, int64(0)
		for _, r := range requests {
			if err := r.Validate(kv.MaxLimits()); err != nil {
				t.Fatal(err)
			}
			before := bytes.Clone(all.Data)
			if all = fsm.Encode(all, r); !bytes.HasPrefix(all.Data, before) {
				t.Fatal("Encode lost what was there")
			}
			n, size := writesOf(&r)
			puts, bytesOf = puts+n, bytesOf+size
		}
		if all.Count != len(requests) || all.Internal || all.Puts != puts || all.Appends != appendsOf(requests) || all.PutBytes != bytesOf {
			t.Fatalf("got %+v, want %d puts of %d bytes in %d requests", all, puts, bytesOf, len(requests))
		}
		checked, err := check(all.Version, all.Count, all.Data)
		if err != nil || !reflect.DeepEqual(checked, all) {
			t.Fatalf("got %+v, %v, want %+v", checked, err, all)
		}
	})
}

// writesOf returns the number of operations of a request that need room, and the bytes that
// they need.
func writesOf(r *kv.Request) (n int, size int64) {
	for _, o := range slices.Concat(r.Then, r.Else) {
		switch o.Kind {
		case kv.OpPut, kv.OpAppend, kv.OpTouch, kv.OpPersist:
			n, size = n+1, size+int64(len(o.Key)+len(o.Value))+attributesOf(kv.Item{Flags: o.Flags, ContentType: o.ContentType, Deadline: int64(o.TTL)})
		case kv.OpAdd:
			n, size = n+1, size+int64(len(o.Key)+len("-9223372036854775808"))+attributesOf(kv.Item{Deadline: int64(o.TTL)})
		case kv.OpRequest:
			more, bytesOf := writesOf(o.Nested)
			n, size = n+more, size+bytesOf
		}
	}
	return n, size
}

// appendsOf returns the number of appends in requests.
func appendsOf(requests []kv.Request) (n int) {
	for _, r := range requests {
		for _, o := range slices.Concat(r.Then, r.Else) {
			switch o.Kind {
			case kv.OpAppend, kv.OpTouch, kv.OpPersist:
				n++
			case kv.OpRequest:
				n += appendsOf([]kv.Request{*o.Nested})
			}
		}
	}
	return n
}

// attributesOf returns the number of bytes that the attributes of an item take at most.
func attributesOf(it kv.Item) (n int64) {
	if it.Flags != 0 {
		n = int64(len(binary.AppendUvarint(nil, uint64(it.Flags))))
	}
	if it.Deadline != 0 {
		n += binary.MaxVarintLen64
	}
	if it.ContentType != "" {
		n += 1 + int64(len(it.ContentType))
	}
	return n
}

// TestEncode_Version shows that a request needs the lowest version that has it.
func TestEncode_Version(t *testing.T) {
	put, del := kv.Op{Kind: kv.OpPut, Key: "k"}, kv.Op{Kind: kv.OpDelete, Span: kv.One("k")}
	for name, tt := range map[string]struct {
		got  wire.Requests
		want byte
	}{
		"Put":         {encode(kv.Put("k", nil)), 1},
		"PutIf":       {encode(kv.Put("k", nil, kv.Absent("k"))), 1},
		"Delete":      {encode(kv.Delete("k")), 1},
		"Clock":       {fsm.ClockRequest(), 1},
		"Retire":      {fsm.RetireRequest("n1.x"), 1},
		"Checkpoint":  {fsm.CheckpointRequest(), 2},
		"OtherKey":    {encode(kv.Put("k", nil, kv.Absent("l"))), 2},
		"TwoCompares": {encode(kv.Put("k", nil, kv.Absent("k"), kv.Absent("k"))), 2},
		"Settings":    {fsm.SettingsRequest(kv.Settings{}), 3},
		"History":     {fsm.HistoryRequest(), 3},
		"CompareOnly": {encode(kv.Request{If: []kv.Compare{kv.Present("k")}}), 3},
		"Else":        {encode(kv.Request{Then: []kv.Op{put}, Else: []kv.Op{put}}), 3},
		"TwoDeletes":  {encode(kv.Request{Then: []kv.Op{del, del}}), 3},
		"129Compares": {encode(kv.Request{If: slices.Repeat([]kv.Compare{kv.Present("k")}, 129), Then: []kv.Op{put}}), 3},
		"128Compares": {encode(kv.Request{If: slices.Repeat([]kv.Compare{kv.Present("k")}, 128), Then: []kv.Op{put}}), 2},
		"TwoPuts":     {encode(kv.Request{Then: []kv.Op{put, {Kind: kv.OpPut, Key: "l"}}}), 2},
		"PutTTL":      {encode(kv.PutTTL("k", nil, time.Second)), 4},
		"Touch":       {encode(kv.Touch("k", time.Second)), 4},
		"Persist":     {encode(kv.Persist("k")), 4},
		"TTLOfElse":   {encode(kv.Request{If: []kv.Compare{kv.Present("k")}, Else: kv.Touch("k", time.Second).Then}), 4},
		"TTLOfNested": {encode(kv.Request{Then: []kv.Op{{Kind: kv.OpRequest, Nested: &kv.Request{Then: kv.Persist("k").Then}}}}), 4},
		"Expire":      {fsm.ExpireRequest(), 4},
		"AfterAnother": {
			fsm.Encode(encode(kv.Request{Then: []kv.Op{put, {Kind: kv.OpPut, Key: "l"}}}), kv.Put("k", nil)), 2,
		},
	} {
		if tt.got.Version != tt.want {
			t.Errorf("%s: got version %d, want %d", name, tt.got.Version, tt.want)
		}
	}
}

// goldenRequestsV3 has one request of each kind that version 3 added.
func goldenRequestsV3() (all wire.Requests) {
	between := kv.Span{Start: "a", End: "c"}
	for _, r := range []kv.Request{
		{Then: []kv.Op{{Kind: kv.OpPut, Key: "more", Value: []byte("<p>"), Flags: 300, ContentType: "text/html", WantPrev: true}}},
		{Then: []kv.Op{{Kind: kv.OpAdd, Key: "n", Delta: -7, WantPrev: true}, {Kind: kv.OpAppend, Key: "log", Value: []byte("+"), MaxBytes: 1000}}},
		{
			If: []kv.Compare{
				{Span: between, Target: kv.TargetValue, Relation: kv.NotEqual, Value: []byte("x")},
				{Span: kv.One("n"), Target: kv.TargetVersion, Relation: kv.Less, Number: 9},
				{Span: kv.From("z"), Target: kv.TargetLease, Relation: kv.Equal},
				{Span: kv.All(), Target: kv.TargetCreateRevision, Relation: kv.Greater, Number: -1},
			},
			Then: []kv.Op{
				{Kind: kv.OpRange, Span: between},
				{Kind: kv.OpRange, Span: kv.From("l"), Range: &kv.RangeOptions{
					Limit: 2, Revision: 4, Reverse: true, KeysOnly: true,
					MinModRevision: 1, MaxModRevision: 1000, MinCreateRevision: 2, MaxCreateRevision: 300,
				}},
				{Kind: kv.OpRange, Span: kv.All(), Range: &kv.RangeOptions{CountOnly: true}},
				{Kind: kv.OpRequest, Nested: &kv.Request{
					If: []kv.Compare{kv.Absent("more")}, Then: []kv.Op{{Kind: kv.OpPut, Key: "never"}},
					Else: []kv.Op{{Kind: kv.OpDelete, Span: between, WantPrev: true}},
				}},
			},
		},
		{If: []kv.Compare{kv.Present("nobody")}, Else: []kv.Op{{Kind: kv.OpDelete, Span: kv.Prefix("lo")}}},
		{If: []kv.Compare{kv.Present("more")}},
		{Then: []kv.Op{{Kind: kv.OpAdd, Key: "more", Delta: 1}}},
		{Then: []kv.Op{{Kind: kv.OpRange, Span: kv.All(), Range: &kv.RangeOptions{Revision: 1 << 20}}}},
	} {
		all = fsm.Encode(all, r)
	}
	return all
}

// TestCodec_GoldenV3 is TestCodec_Golden for what version 3 added, and for a snapshot with
// history.
func TestCodec_GoldenV3(t *testing.T) {
	all := goldenRequestsV3()
	parts := [][]byte{all.Data}
	settings := kv.Settings{History: kv.Retention{MaxAge: time.Hour, MaxRevisions: 5, MaxBytes: 1 << 30}, MaxKeyBytes: 100, MaxValueBytes: 200, MaxRequestOps: 300}
	for _, r := range []wire.Requests{fsm.CompactRequest(3), fsm.SettingsRequest(settings)} {
		all.Note(r)
		parts = append(parts, r.Data)
	}
	checkGolden(t, "entry-v3.golden", fsm.AppendEntry(nil, 1_700_000_000_123_456_789, all.Version, all.Count, parts...))
	f := newFSM(t)
	mustApply(t, f, 1, 0, fsm.HistoryRequest())
	mustApply(t, f, 2, 0, putCmd("a", "1"), putCmd("b", "2"), putCmd("n", "50"), putCmd("log", "x"), putCmd("log", "y"))
	responses, ok := f.Apply(&raft.Log{Index: 3, Term: 1, Data: golden(t, "entry-v3.golden")}).([]byte)
	if !ok {
		t.Fatal("the entry was not applied")
	}
	checkGolden(t, "responses-v3.golden", responses)
	checkGolden(t, "snapshot-v3.golden", snapshotOf(t, f))
	n := kv.Item{Key: "n", Value: []byte("50"), CreateRevision: 4, ModRevision: 4, Version: 1}
	a, b := kv.Item{Key: "a", Value: []byte("1"), CreateRevision: 2, ModRevision: 2, Version: 1}, kv.Item{Key: "b", Value: []byte("2"), CreateRevision: 3, ModRevision: 3, Version: 1}
	done := func(revision uint64, results ...kv.Result) outcome {
		return outcome{Response: kv.Response{Succeeded: true, Revision: revision, Results: results}}
	}
	failed := func(revision uint64, results ...kv.Result) outcome {
		return outcome{Response: kv.Response{Revision: revision, Results: results}}
	}
	nested := failed(9, kv.Result{Deleted: 2, Items: []kv.Item{a, b}}).Response
	want := []outcome{
		done(7, kv.Result{ModRevision: 7}),
		done(8, kv.Result{Existed: true, ModRevision: 8, Number: 43, Prev: &n}, kv.Result{Existed: true, ModRevision: 8, Number: 2}),
		done(9, kv.Result{Items: []kv.Item{a, b}, Count: 2},
			kv.Result{Items: []kv.Item{{Key: "n", CreateRevision: 4, ModRevision: 4, Version: 1}}, Count: 1},
			kv.Result{Count: 5}, kv.Result{Nested: &nested}),
		failed(10, kv.Result{Deleted: 1}),
		done(10),
		{refused: kv.ErrNotNumber.Code}, {refused: kv.ErrFuture.Code},
		done(10), done(10),
	}
	if got := outcomesOf(t, golden(t, "responses-v3.golden")); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	restored := newFSM(t)
	mustRestore(t, restored, golden(t, "snapshot-v3.golden"))
	if !reflect.DeepEqual(restored.Settings(), settings) || restored.CompactRevision() != 3 || restored.Revision() != 10 {
		t.Errorf("got settings %+v, compact revision %d, revision %d", restored.Settings(), restored.CompactRevision(), restored.Revision())
	}
	if got, found, err := restored.GetPast("log", 5); err != nil || !found || string(got.Value) != "x" {
		t.Errorf("a past value: got %+v, %t, %v", got, found, err)
	}
}

// TestCodec_LengthMatters shows that the decoder refuses an encoding that is cut at any
// byte, or that bytes follow.
func TestCodec_LengthMatters(t *testing.T) {
	requests := goldenRequests()
	response, _, err := wire.Take(golden(t, "responses-v2.golden"), 1)
	if err != nil {
		t.Fatal(err)
	}
	_, responsesV3, err := wire.Take(golden(t, "responses-v3.golden"), 2)
	if err != nil {
		t.Fatal(err)
	}
	responseV3, _, err := wire.Take(responsesV3, 1)
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		data   []byte
		decode func([]byte) error
	}{
		"Entry":    {goldenEntry(), fsm.DecodeEntryForTesting},
		"EntryV3":  {golden(t, "entry-v3.golden"), fsm.DecodeEntryForTesting},
		"EntryV4":  {golden(t, "entry-v4.golden"), fsm.DecodeEntryForTesting},
		"Requests": {requests.Data, func(data []byte) error { _, err := check(2, requests.Count, data); return err }},
		"Response": {response, func(data []byte) error { _, err := fsm.DecodeResponse(data); return err }},
		"Nested":   {responseV3, func(data []byte) error { _, err := fsm.DecodeResponse(data); return err }},
	} {
		t.Run(name, func(t *testing.T) {
			if err := tt.decode(tt.data); err != nil {
				t.Errorf("whole: got %v", err)
			}
			for n := range tt.data {
				if err := tt.decode(tt.data[:n]); !errors.Is(err, fsm.ErrMalformed) {
					t.Errorf("cut to %d of %d bytes: got %v, want ErrMalformed", n, len(tt.data), err)
				}
			}
			if err := tt.decode(append(slices.Clone(tt.data), 0)); !errors.Is(err, fsm.ErrMalformed) {
				t.Errorf("with a byte more: got %v, want ErrMalformed", err)
			}
		})
	}
}

// request returns one request of these compares and operations, with its length before it.
func request(parts ...string) []byte {
	var body []byte
	for _, part := range parts {
		body = append(body, part...)
	}
	return wire.AppendBytes(nil, body)
}

// deep returns a request with that many levels of nested ones.
func deep(levels int) []byte {
	var body []byte
	for range levels {
		body = wire.AppendBytes([]byte{8}, body)
	}
	return wire.AppendBytes(nil, body)
}

func TestCheck_Refused(t *testing.T) {
	const huge = "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01" // the greatest uvarint
	const put, del, absent = "\x01\x03\x01kv", "\x02\x01k", "\x41\x02\x00k"
	many := make([]string, kv.LimitMaxRequestOps+1)
	for i := range many {
		many[i] = "\x02\x02k" + string(rune('0'+i%64)) + ""
	}
	var invalid *kv.ValidationError
	isInvalid := func(err error) bool { return errors.As(err, &invalid) }
	malformed := func(err error) bool { return errors.Is(err, fsm.ErrMalformed) }
	version := func(want fsm.VersionError) func(error) bool {
		return func(err error) bool {
			var got *fsm.VersionError
			return errors.As(err, &got) && *got == want && errors.Is(err, kv.ErrUnsupported)
		}
	}
	newer := fsm.VersionError{What: "command version", Version: fsm.Version + 1, Supported: fsm.Version}
	for _, tt := range []struct {
		name    string
		version byte
		count   int
		data    []byte
		want    func(error) bool
	}{
		{"None", 1, 0, nil, malformed},
		{"Fewer", 1, 2, request(put), malformed},
		{"More", 1, 1, append(request(put), request(put)...), malformed},
		{"NegativeCount", 1, -1, request(put), malformed},
		{"Empty", 1, 1, []byte{0, 0, 0}, malformed},
		{"Length", 1, 1, []byte(huge), malformed},
		{"LengthOverlong", 1, 1, []byte("\xff" + huge), malformed},
		{"PartLength", 1, 1, request("\x01" + huge), malformed},
		{"KeyLength", 1, 1, request("\x01\x0a" + huge), malformed},
		{"CompareBehind", 2, 1, request(put, absent), malformed},
		{"ChangedTwice", 3, 1, request(put, del), isInvalid},
		{"ElseEmpty", 3, 1, request(absent, "\x50\x00"), malformed},
		{"ElseTwice", 3, 1, request("\x50\x03"+del, "\x50\x03"+del), malformed},
		{"BehindElse", 3, 1, request("\x50\x03"+del, put), malformed},
		{"CompareInElse", 3, 1, request("\x50\x04" + absent), version(fsm.VersionError{What: "operation 0x41", Supported: fsm.Version})},
		{"NestedClock", 3, 1, request("\x08\x02\x81\x00"), malformed},
		{"ElseClock", 3, 1, request("\x50\x02\x81\x00"), isInvalid},
		{"TooDeep", 3, 1, deep(kv.MaxRequestParts + 1), malformed},
		{"Nested", 3, 1, deep(kv.LimitMaxRequestOps + 1), isInvalid},
		{"Options", 3, 1, request("\x04\x04\x02\x00\x01k"), malformed},
		{"Span", 3, 1, request("\x04\x04\x00\x03\x01k"), malformed},
		{"Target", 3, 1, request("\x44\x06\x06\x01\x00\x01k\x00"), malformed},
		{"Limit", 3, 1, request("\x05\x0e\x08\x00\x01k" + huge), malformed},
		{"Flags", 3, 1, request("\x03\x0d\x02\x01k" + huge), malformed},
		{"TooMany", 2, 1, request(many...), malformed},
		{"NoKey", 1, 1, request("\x02\x00"), isInvalid},
		{"NoKeyCompared", 2, 1, request("\x41\x01\x00", put), isInvalid},
		{"LongKey", 1, 1, encode(kv.Delete(string(make([]byte, kv.LimitMaxKeyBytes+1)))).Data, isInvalid},
		{"LongKeyCompared", 2, 1, encode(kv.Delete("k", kv.Absent(string(make([]byte, kv.LimitMaxKeyBytes+1))))).Data, isInvalid},
		{"BigValue", 1, 1, encode(kv.Put("k", make([]byte, kv.LimitMaxValueBytes+1))).Data, isInvalid},
		{"NoTTL", 4, 1, request("\x0c\x03\x00\x00k"), malformed},
		{"LongTTL", 4, 1, request("\x0c\x0c" + huge + "\x00k"), malformed},
		{"Expire", 4, 1, fsm.ExpireRequest().Data, isInvalid},
		{"Clock", 1, 1, fsm.ClockRequest().Data, isInvalid},
		{"Retire", 1, 1, fsm.RetireRequest("n1.0").Data, isInvalid},
		{"Checkpoint", 2, 1, fsm.CheckpointRequest().Data, isInvalid},
		{"ClockAndPut", 2, 1, request("\x81\x00", put), malformed},
		{"ClockWithKey", 1, 1, request("\x81\x01k"), malformed},
		{"NewVersion", fsm.Version + 1, 1, request(put), version(newer)},
		{"Operation", 2, 1, request("\x3f\x01k"), version(fsm.VersionError{What: "operation 0x3f", Supported: fsm.Version})},
		{"Comparison", 2, 1, request("\x45\x02\x00k", put), version(fsm.VersionError{What: "operation 0x45", Supported: fsm.Version})},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got, err := check(tt.version, tt.count, tt.data); !tt.want(err) {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
	if got, err := check(1, 1, request(put)); err != nil || got.Count != 1 || got.Puts != 1 || got.PutBytes != 2 {
		t.Errorf("a put: got %+v, %v", got, err)
	}
}

func TestDecodeResponse_Refused(t *testing.T) {
	for _, tt := range []struct {
		name, body string
		version    *fsm.VersionError // nil means ErrMalformed
	}{
		{"Empty", "", nil},
		{"NoRevision", "\x01", nil},
		{"ResultLength", "\x01\x01\x01\x05\x01", nil},
		{"ShortResult", "\x01\x01\x01\x01\x01", nil},
		{"Kind", "\x05\x01", &fsm.VersionError{What: "response 0x5", Supported: fsm.Version}},
		{"ReplayedTwice", "\x04\x04\x01\x00", &fsm.VersionError{What: "response 0x4", Supported: fsm.Version}},
		{"ShortReplayed", "\x04\x01", nil},
		{"Result", "\x01\x01\x07\x02\x00\x00", &fsm.VersionError{What: "result 0x7", Supported: fsm.Version}},
		{"Code", "\x03\x01x\x00\x00\x00", &fsm.VersionError{What: `refusal "x"`, Supported: fsm.Version}},
		{"ShortRefusal", "\x03\x01x\x00", nil},
		{"ShortItem", "\x01\x01\x02\x05\x03\x01\x01\x00\x00", nil},
	} {
		_, err := fsm.DecodeResponse(wire.AppendBytes(nil, tt.body))
		var got *fsm.VersionError
		if tt.version == nil && !errors.Is(err, fsm.ErrMalformed) || tt.version != nil && (!errors.As(err, &got) || *got != *tt.version) {
			t.Errorf("%s: got %v, want %v", tt.name, err, tt.version)
		}
	}
}

// TestDecodeResponse_SkipsWhatIsNew shows that an older node skips bytes that a newer
// leader adds to a result.
func TestDecodeResponse_SkipsWhatIsNew(t *testing.T) {
	got, err := fsm.DecodeResponse(wire.AppendBytes(nil, "\x01\x07\x01\x05\x01\x07new\x01\x02\x00\x00"))
	want := kv.Response{Succeeded: true, Revision: 7, Results: []kv.Result{{Existed: true, ModRevision: 7}, {}}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
}

// check is Check of a state machine of this build.
func check(version byte, count int, data []byte) (wire.Requests, error) {
	return fsm.New(fsm.Config{}).Check(version, count, data)
}

// TestCheck_NestedTooDeeply checks that requests are not nested without a limit.
func TestCheck_NestedTooDeeply(t *testing.T) {
	request := kv.Put("a", nil)
	for range kv.MaxRequestParts {
		nested := request
		request = kv.Request{Then: []kv.Op{{Kind: kv.OpRequest, Nested: &nested}}}
	}
	encoded := fsm.Encode(wire.Requests{}, request)
	if _, err := check(encoded.Version, encoded.Count, encoded.Data); !errors.Is(err, fsm.ErrMalformed) {
		t.Errorf("%d requests, one in the other: got %v, want ErrMalformed", kv.MaxRequestParts+1, err)
	}
}

func FuzzCheck(f *testing.F) {
	requests := goldenRequests()
	f.Add(requests.Version, requests.Count, requests.Data)
	f.Add(byte(2), 1, fsm.CheckpointRequest().Data)
	newer := goldenRequestsV3()
	f.Add(newer.Version, newer.Count, newer.Data)
	keyed := once("key", add("n"))
	f.Add(keyed.Version, keyed.Count, keyed.Data)
	nested := kv.Request{Else: []kv.Op{{Kind: kv.OpAppend, Key: "k", MaxBytes: 9}}}
	keyed = once("key", kv.Request{Then: []kv.Op{{Kind: kv.OpRequest, Nested: &nested}}})
	f.Add(keyed.Version, keyed.Count, keyed.Data)
	f.Fuzz(func(t *testing.T, version byte, count int, data []byte) {
		requests, err := check(version, count, data)
		if err != nil {
			var invalid *kv.ValidationError
			if !errors.As(err, &invalid) {
				checkDecodeError(t, err)
			}
			return
		}
		// Requests that Check accepts can be applied, with a response to each.
		into := fsm.New(fsm.Config{OnFatal: func(err error) { panic(err) }})
		answer := into.Apply(&raft.Log{Index: 1, Term: 1, Data: fsm.AppendEntry(nil, 0, requests.Version, requests.Count, data)})
		if got := outcomesOf(t, answer.([]byte)); len(got) != count {
			t.Errorf("got %d responses to %d requests", len(got), count)
		}
		if growth := fsm.New(fsm.Config{}).Growth(requests, 0); growth > requests.PutBytes {
			t.Errorf("data would grow by %d bytes, with %d bytes of puts", growth, requests.PutBytes)
		}
	})
}

func FuzzDecodeEntry(f *testing.F) {
	f.Add(goldenEntry())
	f.Add(golden(f, "entry-v3.golden"))
	f.Add(golden(f, "entry-v4.golden"))
	f.Add(fsm.AppendEntry(nil, 0, 1, 0))
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := fsm.DecodeEntryForTesting(data); err != nil {
			checkDecodeError(t, err)
		}
	})
}

func FuzzDecodeResponse(f *testing.F) {
	for data := slices.Concat(golden(f, "responses-v2.golden"), golden(f, "responses-v3.golden"), golden(f, "responses-v4.golden")); len(data) > 0; {
		one, rest, err := wire.Take(data, 1)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(one)
		data = rest
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if _, err := fsm.DecodeResponse(data); err != nil && !errors.As(err, new(*fsm.RefusedError)) {
			checkDecodeError(t, err)
		}
	})
}

func checkDecodeError(t *testing.T, err error) {
	t.Helper()
	var versionErr *fsm.VersionError
	if !errors.Is(err, fsm.ErrMalformed) && !errors.As(err, &versionErr) {
		t.Errorf("got %v, want ErrMalformed or a VersionError", err)
	}
}

// checkGolden compares got with a golden file, or writes it with -update.
func checkGolden(t *testing.T, name string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(filepath.Join("testdata", name), got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if want := golden(t, name); !bytes.Equal(got, want) {
		t.Errorf("%s: got\n%x\nwant\n%x", name, got, want)
	}
}

func golden(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}
