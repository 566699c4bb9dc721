package api

import (
	"encoding/json"
	"errors"
	"io"
	"unicode/utf8"

	"github.com/kvorum/kvorum/kv"
)

// JSON lines are the format of lists, of exports and of imports: one object per line,
// {"key": …, "value": …}. Keys and values that are not UTF-8 are base64 in "key_b64" and
// "value_b64" instead. A list's lines also have the key's revisions. The last line of a
// list has "end": true and no key. It has the number of lines before it, and the first key
// of the rest if a limit cut the list.

// Line is the JSON of a line. A nil field means that the line does not have the member.
type Line struct {
	Key      *string `json:"key,omitempty"`
	KeyB64   *[]byte `json:"key_b64,omitempty"`
	Value    *string `json:"value,omitempty"`
	ValueB64 *[]byte `json:"value_b64,omitempty"`
	// End and Count are those of a list's last line.
	End   bool `json:"end,omitempty"`
	Count *int `json:"count,omitempty"`
}

// ListLine is the JSON of a list's line.
type ListLine struct {
	Line
	CreateRevision uint64 `json:"create_revision"`
	ModRevision    uint64 `json:"mod_revision"`
	Version        uint64 `json:"version"`
	// Next and NextB64 are those of the last line of a list that was cut.
	Next    string `json:"next"`
	NextB64 []byte `json:"next_b64"`
}

// End is the last line of a list.
type End struct {
	Count *int   // number of lines before it; nil if the line does not have it
	Next  string // the first key of the rest, "" if nothing was cut
}

// errNotUTF8 is returned for a line that is not UTF-8: the JSON decoder would replace its
// bytes.
var errNotUTF8 = errors.New("is not UTF-8; use key_b64 and value_b64 for bytes")

// ParseLine reads a line of a file. It ignores unknown members. A line must have exactly
// one key and one value. For the last line of a list, end is true and there is no item.
func ParseLine(line []byte) (item kv.Item, end bool, err error) {
	if !utf8.Valid(line) {
		return kv.Item{}, false, errNotUTF8
	}
	var j Line
	if err := json.Unmarshal(line, &j); err != nil {
		return kv.Item{}, false, err
	}
	if j.isEnd() {
		return kv.Item{}, true, nil
	}
	item, err = j.item(false)
	return item, false, err
}

// ParseListLine reads a line of a list, as ParseLine does; with keysOnly it needs no value.
// For the last line, end is not nil and there is no item.
func ParseListLine(line []byte, keysOnly bool) (item kv.Item, end *End, err error) {
	if !utf8.Valid(line) {
		return kv.Item{}, nil, errNotUTF8
	}
	var j ListLine
	if err := json.Unmarshal(line, &j); err != nil {
		return kv.Item{}, nil, err
	}
	if j.isEnd() {
		if j.NextB64 != nil {
			j.Next = string(j.NextB64)
		}
		return kv.Item{}, &End{Count: j.Count, Next: j.Next}, nil
	}
	item, err = j.item(keysOnly)
	item.CreateRevision, item.ModRevision, item.Version = j.CreateRevision, j.ModRevision, j.Version
	return item, nil, err
}

// isEnd reports whether j is the last line of a list.
func (j *Line) isEnd() bool { return j.End && j.Key == nil && j.KeyB64 == nil }

// item returns the key and the value of j.
func (j *Line) item(keysOnly bool) (kv.Item, error) {
	var i kv.Item
	switch {
	case (j.Key == nil) == (j.KeyB64 == nil):
		return i, errors.New("needs exactly one of key and key_b64")
	case j.Value != nil && j.ValueB64 != nil, j.Value == nil && j.ValueB64 == nil && !keysOnly:
		return i, errors.New("needs exactly one of value and value_b64")
	case j.Key != nil:
		i.Key = *j.Key
	default:
		i.Key = string(*j.KeyB64)
	}
	switch {
	case j.Value != nil:
		i.Value = []byte(*j.Value)
	case j.ValueB64 != nil:
		i.Value = *j.ValueB64
	}
	if i.Key == "" {
		return i, errors.New("the key is empty")
	}
	return i, nil
}

// WriteLine writes the key and the value of i as a line, with one call of w.Write.
func WriteLine(w io.Writer, i kv.Item) error {
	var j Line
	if key := []byte(i.Key); utf8.Valid(key) {
		j.Key = &i.Key
	} else {
		j.KeyB64 = &key
	}
	if utf8.Valid(i.Value) {
		value := string(i.Value)
		j.Value = &value
	} else {
		j.ValueB64 = &i.Value
	}
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(j)
}
