package fsm_test

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

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
		{If: []kv.Compare{kv.Present("a"), kv.Absent("b")}, Then: []kv.Op{{Kind: kv.OpPut, Key: "b", Value: []byte("v")}, {Kind: kv.OpDelete, Key: "a"}}},
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
		{Succeeded: true, Revision: 3, Results: []kv.OpResult{{Existed: true, ModRevision: 3}}},
		{Succeeded: true, Revision: 4, Results: []kv.OpResult{{ModRevision: 4}}},
		{Revision: 4, Results: []kv.OpResult{{Existed: true, ModRevision: 3}}},
		{Succeeded: true, Revision: 5, Results: []kv.OpResult{{Existed: true}}},
		{Succeeded: true, Revision: 6, Results: []kv.OpResult{{ModRevision: 6}, {Existed: true}}},
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
			if err := r.Validate(); err != nil {
				t.Fatal(err)
			}
			before := bytes.Clone(all.Data)
			if all = fsm.Encode(all, r); !bytes.HasPrefix(all.Data, before) {
				t.Fatal("Encode lost what was there")
			}
			for _, op := range r.Then {
				if op.Kind == kv.OpPut {
					puts++
					bytesOf += int64(len(op.Key) + len(op.Value))
				}
			}
		}
		if all.Count != len(requests) || all.Internal || all.Puts != puts || all.PutBytes != bytesOf {
			t.Fatalf("got %+v, want %d puts of %d bytes in %d requests", all, puts, bytesOf, len(requests))
		}
		checked, err := check(all.Version, all.Count, all.Data)
		if err != nil || !reflect.DeepEqual(checked, all) {
			t.Fatalf("got %+v, %v, want %+v", checked, err, all)
		}
	})
}

// TestEncode_Version shows that a request needs the lowest version that has it.
func TestEncode_Version(t *testing.T) {
	put := kv.Op{Kind: kv.OpPut, Key: "k"}
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
		"TwoPuts":     {encode(kv.Request{Then: []kv.Op{put, {Kind: kv.OpPut, Key: "l"}}}), 2},
		"AfterAnother": {
			fsm.Encode(encode(kv.Request{Then: []kv.Op{put, {Kind: kv.OpPut, Key: "l"}}}), kv.Put("k", nil)), 2,
		},
	} {
		if tt.got.Version != tt.want {
			t.Errorf("%s: got version %d, want %d", name, tt.got.Version, tt.want)
		}
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
	for name, tt := range map[string]struct {
		data   []byte
		decode func([]byte) error
	}{
		"Entry":    {goldenEntry(), fsm.DecodeEntryForTesting},
		"Requests": {requests.Data, func(data []byte) error { _, err := check(2, requests.Count, data); return err }},
		"Response": {response, func(data []byte) error { _, err := fsm.DecodeResponse(data); return err }},
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

func TestCheck_Refused(t *testing.T) {
	const huge = "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01" // the greatest uvarint
	const put, del, absent = "\x01\x03\x01kv", "\x02\x01k", "\x41\x02\x00k"
	many := make([]string, kv.MaxRequestOps+1)
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
		{"NoOperation", 1, 1, request(absent), malformed},
		{"CompareBehind", 2, 1, request(put, absent), malformed},
		{"ChangedTwice", 2, 1, request(put, del), malformed},
		{"TooMany", 2, 1, request(many...), malformed},
		{"NoKey", 1, 1, request("\x02\x00"), isInvalid},
		{"NoKeyCompared", 2, 1, request("\x41\x01\x00", put), isInvalid},
		{"LongKey", 1, 1, encode(kv.Delete(string(make([]byte, kv.LimitMaxKeyBytes+1)))).Data, isInvalid},
		{"LongKeyCompared", 2, 1, encode(kv.Delete("k", kv.Absent(string(make([]byte, kv.LimitMaxKeyBytes+1))))).Data, isInvalid},
		{"BigValue", 1, 1, encode(kv.Put("k", make([]byte, kv.LimitMaxValueBytes+1))).Data, isInvalid},
		{"Clock", 1, 1, fsm.ClockRequest().Data, isInvalid},
		{"Retire", 1, 1, fsm.RetireRequest("n1.0").Data, isInvalid},
		{"Checkpoint", 2, 1, fsm.CheckpointRequest().Data, isInvalid},
		{"ClockAndPut", 2, 1, request("\x81\x00", put), malformed},
		{"ClockWithKey", 1, 1, request("\x81\x01k"), malformed},
		{"NewVersion", 3, 1, request(put), version(fsm.VersionError{What: "command version", Version: 3, Supported: 2})},
		{"Operation", 2, 1, request("\x07\x01k"), version(fsm.VersionError{What: "operation 0x7", Supported: 2})},
		{"Comparison", 2, 1, request("\x44\x02\x00k", put), version(fsm.VersionError{What: "operation 0x44", Supported: 2})},
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
		{"Kind", "\x03\x01", &fsm.VersionError{What: "response 0x3", Supported: fsm.Version}},
		{"Result", "\x01\x01\x02\x02\x00\x00", &fsm.VersionError{What: "result 0x2", Supported: fsm.Version}},
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
	want := kv.Response{Succeeded: true, Revision: 7, Results: []kv.OpResult{{Existed: true, ModRevision: 7}, {}}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
}

// check is Check of a state machine of this build.
func check(version byte, count int, data []byte) (wire.Requests, error) {
	return fsm.New(fsm.Config{Shards: 1}).Check(version, count, data)
}

func FuzzCheck(f *testing.F) {
	requests := goldenRequests()
	f.Add(requests.Version, requests.Count, requests.Data)
	f.Add(byte(2), 1, fsm.CheckpointRequest().Data)
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
		into := fsm.New(fsm.Config{Shards: 1, OnFatal: func(err error) { panic(err) }})
		answer := into.Apply(&raft.Log{Index: 1, Term: 1, Data: fsm.AppendEntry(nil, 0, requests.Version, requests.Count, data)})
		if got := responsesOf(t, answer.([]byte)); len(got) != count {
			t.Errorf("got %d responses to %d requests", len(got), count)
		}
		if growth := fsm.New(fsm.Config{Shards: 1}).Growth(requests, 0); growth > requests.PutBytes {
			t.Errorf("data would grow by %d bytes, with %d bytes of puts", growth, requests.PutBytes)
		}
	})
}

func FuzzDecodeEntry(f *testing.F) {
	f.Add(goldenEntry())
	f.Add(fsm.AppendEntry(nil, 0, 1, 0))
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := fsm.DecodeEntryForTesting(data); err != nil {
			checkDecodeError(t, err)
		}
	})
}

func FuzzDecodeResponse(f *testing.F) {
	for data := golden(f, "responses-v2.golden"); len(data) > 0; {
		one, rest, err := wire.Take(data, 1)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(one)
		data = rest
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if _, err := fsm.DecodeResponse(data); err != nil {
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
