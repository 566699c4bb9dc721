package strictjson_test

import (
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/kvorum/kvorum/internal/strictjson"
)

// shape is what read reads.
type shape struct {
	text   string
	bytes  []byte
	number int64
	flag   bool
	list   []shape
}

func read(r *strictjson.Reader, into *shape) {
	r.Object(func(name string) bool {
		switch name {
		case "text":
			into.text = r.String()
		case "bytes":
			into.bytes = r.Base64()
		case "number":
			into.number = r.Int(-5, math.MaxInt64)
		case "flag":
			into.flag = r.Bool()
		case "list":
			r.Array(func(int) {
				var element shape
				read(r, &element)
				into.list = append(into.list, element)
			})
		default:
			return false
		}
		return true
	})
}

func readText(text string) (shape, error) {
	var s shape
	r := strictjson.New([]byte(text))
	read(r, &s)
	r.End()
	return s, r.Err()
}

func TestReader_Values(t *testing.T) {
	got, err := readText("\n{ \"text\" : \"a\\u00e9\\ud83d\\ude00\\n\\/é\", \"list\":[{},{\"number\":-5,\"flag\":true} , {\"bytes\":\"AP8=\"}]\t}\r\n")
	if err != nil {
		t.Fatal(err)
	}
	if got.text != "aé😀\n/é" || len(got.list) != 3 || got.list[1].number != -5 || !got.list[1].flag || string(got.list[2].bytes) != "\x00\xff" {
		t.Errorf("got %+v", got)
	}
	if got, err := readText(`{"number":9223372036854775807,"bytes":""}`); err != nil || got.number != math.MaxInt64 || got.bytes == nil {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestReader_Errors(t *testing.T) {
	for text, want := range map[string]string{
		``:                                      "ends too early, an object is missing",
		`[]`:                                    "must be an object",
		`null`:                                  "must be an object",
		`{`:                                     `ends too early, the name of a member is missing`,
		`{"text"`:                               "ends too early, a colon after the name of a member is missing",
		`{"text":"a"`:                           `ends too early, a comma or '}' is missing`,
		`{"text":"a",}`:                         `is not valid JSON: byte 12 is "}", not the name of a member`,
		`{"text":"a" "flag":true}`:              `is not valid JSON: byte 12 is "\"", not a comma or '}'`,
		`{"text":"a"}{}`:                        "continues after its end, at byte 12",
		`{"text":null}`:                         "text: must be a string",
		`{"text":7}`:                            "text: must be a string",
		`{"text":x}`:                            `text: is not valid JSON: byte 8 is "x", not a string`,
		`{"text":"a`:                            "text: ends too early, the end of a string is missing",
		`{"text":"\`:                            "text: ends too early, the end of a string is missing",
		"{\"text\":\"\n\"}":                     "text: has a control character that is not escaped",
		`{"text":"\x"}`:                         "text: has a bad escape",
		`{"text":"\u12"}`:                       "text: has a bad escape",
		`{"text":"\u12zz"}`:                     "text: has a bad escape",
		`{"text":"\udc00"}`:                     "text: has the second half of a surrogate pair without the first",
		`{"text":"\ud800"}`:                     "text: has the first half of a surrogate pair without the second",
		`{"text":"\ud800\u0041"}`:               "text: has the first half of a surrogate pair without the second",
		"{\"text\":\"\xff\"}":                   "is not valid UTF-8",
		`{"bytes":"AP8"}`:                       "bytes: is not valid base64",
		`{"bytes":"AP9="}`:                      "bytes: is not valid base64",
		`{"bytes":"AP\n8="}`:                    "bytes: is not valid base64",
		`{"flag":"true"}`:                       "flag: must be true or false",
		`{"flag":1}`:                            "flag: must be true or false",
		`{"number":"1"}`:                        "number: must be an integer",
		`{"number":1.0}`:                        "number: must be an integer",
		`{"number":1e3}`:                        "number: must be an integer",
		`{"number":01}`:                         "number: must be an integer",
		`{"number":-}`:                          "number: must be an integer",
		`{"number":-6}`:                         "number: is -6, the limits are -5 and 9223372036854775807",
		`{"number":9223372036854775808}`:        "number: is 9223372036854775808, the limits are -5 and 9223372036854775807",
		`{"list":{}}`:                           "list: must be an array",
		`{"list":[{},7]}`:                       "list[1]: must be an object",
		`{"list":[{},{"list":[{"Text":"a"}]}]}`: `list[1].list[0]."Text": is not a field of this request`,
		`{"list":[{},{"text":"a","text":"b"}]}`: "list[1].text: is given more than once",
		`{"":1}`:                                `"": is not a field of this request`,
		strings.Repeat(`{"list":[`, 501):        strings.Repeat(".list[0]", 500)[1:] + ": is nested too deeply, the limit is 1000 levels",
	} {
		_, err := readText(text)
		var e *strictjson.Error
		if !errors.As(err, &e) || err.Error() != want {
			t.Errorf("%.80s: got %v, want %s", text, err, want)
		}
	}
}

// FuzzReader checks that what is accepted is JSON, and means the same to encoding/json.
func FuzzReader(f *testing.F) {
	f.Add(`{"text":"a\u00e9\ud83d\ude00","list":[{"flag":true,"number":-3,"bytes":"AP8="}]}`)
	f.Fuzz(func(t *testing.T, text string) {
		got, err := readText(text)
		if err != nil {
			return
		}
		var want struct {
			Text   string
			Bytes  []byte
			Number int64
			Flag   bool
			List   []any
		}
		if err := json.Unmarshal([]byte(text), &want); err != nil {
			t.Fatalf("%q: accepted, but %v", text, err)
		}
		if got.text != want.Text || string(got.bytes) != string(want.Bytes) || got.number != want.Number || got.flag != want.Flag || len(got.list) != len(want.List) {
			t.Errorf("%q: got %+v, want %+v", text, got, want)
		}
	})
}
