package api_test

import (
	"bytes"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/kvorum/kvorum/internal/api"
	"github.com/kvorum/kvorum/kv"
)

// TestLine_RoundTrip checks that an item that is written is read again, byte for byte and
// on one line.
func TestLine_RoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(
			rapid.StringN(1, 20, -1),
			rapid.Map(rapid.SliceOfN(rapid.Byte(), 1, 20), func(b []byte) string { return string(b) }),
		)
		want := kv.Item{Key: text.Draw(t, "key"), Value: []byte(text.Draw(t, "value")), Flags: rapid.Uint32().Draw(t, "flags"), ContentType: rapid.SampledFrom([]string{"", "text/html; charset=\"x\""}).Draw(t, "type"),
			Deadline: rapid.Int64Range(0, 253_402_300_799_999).Draw(t, "deadline")}
		var buf bytes.Buffer
		if err := api.WriteLine(&buf, want); err != nil {
			t.Fatalf("write: %v", err)
		}
		line, err := api.NewLines(&buf).Next()
		if err != nil || buf.Len() > 0 {
			t.Fatalf("read the line: got %q, %v, and %d bytes more", line, err, buf.Len())
		}
		got, end, err := api.ParseLine(line)
		if err != nil || end || !reflect.DeepEqual(got, want) {
			t.Fatalf("got %+v, %v, %v, want %+v", got, end, err, want)
		}
		listed, last, err := api.ParseListLine(line, false)
		if err != nil || last != nil || !reflect.DeepEqual(listed, api.ListItem{Item: want}) {
			t.Fatalf("as one of a list: got %+v, %v, %v, want %+v", listed, last, err, want)
		}
	})
}

func FuzzParseLine(f *testing.F) {
	f.Add([]byte(`{"key":"a","value":"b"}`))
	f.Add([]byte(`{"key_b64":"/w==","value_b64":""}`))
	f.Add([]byte(`{"end":true,"count":1,"next":"b"}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		item, end, err := api.ParseLine(line)
		if err != nil || end {
			return
		}
		var buf bytes.Buffer
		if err := api.WriteLine(&buf, item); err != nil {
			t.Fatalf("write what was read from %q: %v", line, err)
		}
		again, _, err := api.ParseLine(bytes.TrimSuffix(buf.Bytes(), []byte("\n")))
		if err != nil || again.Key != item.Key || !bytes.Equal(again.Value, item.Value) {
			t.Fatalf("%q: got %+v, %v, want %+v", line, again, err, item)
		}
	})
}

func TestParseListLine(t *testing.T) {
	one := 1
	for _, tc := range []struct {
		line     string
		keysOnly bool
		item     kv.Item
		clock    int64
		end      *api.End
		err      string
	}{
		{line: `{"key":"a","value":"x","create_revision":1,"mod_revision":4,"version":2}`,
			item: kv.Item{Key: "a", Value: []byte("x"), CreateRevision: 1, ModRevision: 4, Version: 2}},
		{line: `{"key_b64":"/w==","mod_revision":5,"new":[]}`, keysOnly: true, item: kv.Item{Key: "\xff", ModRevision: 5}},
		{line: `{"end":true,"count":1}`, end: &api.End{Count: &one}},
		{line: `{"end":true,"count":1,"next":"b"}`, end: &api.End{Count: &one, Next: "b"}},
		{line: `{"end":true,"count":1,"next":"b","cursor":"AQ"}`, end: &api.End{Count: &one, Next: "b", Cursor: "AQ"}},
		{line: `{"end":false,"count":1,"cursor":"AQ","error":{"code":"view_ended"}}`, end: &api.End{Count: &one, Cursor: "AQ", Error: &api.Problem{Code: "view_ended"}}},
		{line: `{"end":false,"count":1}`, err: "needs exactly one of key and key_b64"},
		{line: `{"key":"a","value":"x","lease":"ffffffffffffffff","flags":7,"content_type":"a/b"}`,
			item: kv.Item{Key: "a", Value: []byte("x"), Lease: -1, Flags: 7, ContentType: "a/b"}},
		{line: `{"key":"a","value":"x","expires_at":"2026-01-01T00:00:30.000Z","ttl_ms":29500}`,
			item: kv.Item{Key: "a", Value: []byte("x"), Deadline: 1_767_225_630_000}, clock: 1_767_225_600_500},
		{line: `{"key":"a","value":"x","expires_at":"2026-01-01T01:00:30.0009+01:00"}`, item: kv.Item{Key: "a", Value: []byte("x"), Deadline: 1_767_225_630_000}},
		{line: `{"key":"a","value":"x","lease":7}`, err: "lease"},
		{line: `{"key":"a","value":"x","lease":"4d2"}`, err: `lease "4d2" must be the id of a lease: 16 hexadecimal digits in lower case, such as 00000000000004d2`},
		{line: `{"key":"a","value":"x","expires_at":"soon"}`, err: `expires_at "soon" is no time of RFC 3339`},
		{line: `{"end":true,"next_b64":"/w=="}`, end: &api.End{Next: "\xff"}},
		{line: `{"key":"a"}`, err: "needs exactly one of value and value_b64"},
		{line: `{"key":"a","key_b64":"YQ==","value":""}`, err: "needs exactly one of key and key_b64"},
		{line: `{"key":"","value":""}`, err: "the key is empty"},
		{line: `{"key":"a","value":"x","version":-1}`, err: "version"},
		{line: "{\"key\":\"\xff\",\"value\":\"\"}", err: "is not UTF-8"},
		{line: `<html>`, err: "invalid character"},
	} {
		item, end, err := api.ParseListLine([]byte(tc.line), tc.keysOnly)
		if tc.err != "" {
			if err == nil || !strings.Contains(err.Error(), tc.err) {
				t.Errorf("%s: got %v, want an error with %q", tc.line, err, tc.err)
			}
			continue
		}
		if err != nil || !reflect.DeepEqual(item, api.ListItem{Item: tc.item, Clock: tc.clock}) || !reflect.DeepEqual(end, tc.end) {
			t.Errorf("%s: got %+v, %+v, %v, want %+v, %+v", tc.line, item, end, err, tc.item, tc.end)
		}
	}
}

// TestParseLine_IgnoresOtherMembers shows that a file's lines may have members of any type
// beside key and value, also with the names of a list's members.
func TestParseLine_IgnoresOtherMembers(t *testing.T) {
	item, end, err := api.ParseLine([]byte(`{"key":"a","value":"x","version":"1.2","mod_revision":null,"lease":7,"next":{}}`))
	if err != nil || end || item.Key != "a" || string(item.Value) != "x" || item.Version != 0 {
		t.Errorf("got %+v, %v, %v", item, end, err)
	}
}
