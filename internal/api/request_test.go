package api_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/kvorum/kvorum/internal/api"
	"github.com/kvorum/kvorum/kv"
)

// TestEncodeRequest_Length checks that no value takes more bytes in a request than in base64,
// by which a node limits the body, and that it is the same value.
func TestEncodeRequest_Length(t *testing.T) {
	check := func(t rapid.TB, value string) {
		put := kv.Put("k", []byte(value))
		line, err := api.EncodeRequest(&put)
		if err != nil || bytes.IndexByte(line, '\n') >= 0 {
			t.Fatalf("%.20q: got %.80q, %v, want one line", value, line, err)
		}
		const around = `{"then":[{"put":{"key":"k","value_b64":""}}]}`
		if limit := len(around) + base64.StdEncoding.EncodedLen(len(value)); len(line) > limit {
			t.Fatalf("%.20q: %d bytes take %d, the limit is %d", value, len(value), len(line), limit)
		}
		var j struct {
			Then []struct {
				Put struct {
					Value    string
					ValueB64 []byte `json:"value_b64"`
				}
			}
		}
		if err := json.Unmarshal(line, &j); err != nil || j.Then[0].Put.Value+string(j.Then[0].Put.ValueB64) != value {
			t.Fatalf("%.20q: got %.80q, %v", value, line, err)
		}
	}
	for c := range rune(0x80) {
		check(t, strings.Repeat(string(c), 1000))
	}
	for _, text := range []string{"\u2028", "\u2029", "\ufffd", "\xff", "é", "a\x00", "<p>&\"\\\n"} {
		check(t, strings.Repeat(text, 1000))
	}
	rapid.Check(t, func(t *rapid.T) { check(t, rapid.String().Draw(t, "value")) })
}
