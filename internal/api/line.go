package api

import (
	"encoding/json"
	"errors"
	"io"
	"time"
	"unicode/utf8"

	"github.com/kvorum/kvorum/kv"
)

// JSON lines are the format of lists, of exports and of imports: one object per line,
// {"key": …, "value": …}, with "flags", "content_type" and "expires_at" if the key has them. Keys
// and values that are not UTF-8 are base64 in "key_b64" and "value_b64" instead. A list's lines
// also have the key's revisions, and "ttl_ms", what is left until the deadline. The last line of a
// list has "end": true and no key. It has the number of lines before it, and the cursor and
// the first key of the rest if a limit cut the list. If the list has ended early, "end" is
// false, and there is an "error".

// Line is the JSON of a line. A nil field means that the line does not have the member.
type Line struct {
	Key      *string `json:"key,omitempty"`
	KeyB64   *[]byte `json:"key_b64,omitempty"`
	Value    *string `json:"value,omitempty"`
	ValueB64 *[]byte `json:"value_b64,omitempty"`
	// Flags and ContentType are the attributes of the key, left out if they are not set.
	Flags       uint32 `json:"flags,omitempty"`
	ContentType string `json:"content_type,omitempty"`
	// ExpiresAt is the deadline of the key, left out if it has none; see ParseDeadline.
	ExpiresAt string `json:"expires_at,omitempty"`
	// End and Count are those of a list's last line.
	End   bool `json:"end,omitempty"`
	Count *int `json:"count,omitempty"`
}

// ListLine is the JSON of a list's line.
type ListLine struct {
	Line
	CreateRevision uint64  `json:"create_revision"`
	ModRevision    uint64  `json:"mod_revision"`
	Version        uint64  `json:"version"`
	Lease          LeaseID `json:"lease"`
	// TTLMillis is the time from the cluster clock of the list's state to the deadline, in
	// milliseconds; nil if there is none, or if the state is not the newest one.
	TTLMillis *int64 `json:"ttl_ms"`
	// Next, NextB64 and Cursor are those of the last line of a list that was cut.
	Next    string `json:"next"`
	NextB64 []byte `json:"next_b64"`
	Cursor  string `json:"cursor"`
	// Error is that of the last line of a list that has ended early.
	Error *Problem `json:"error"`
}

// ListItem is the item of a list's line.
type ListItem struct {
	kv.Item
	// Clock is the cluster clock of the list's state, in milliseconds since the Unix epoch, 0 if
	// it is not known.
	Clock int64
}

// End is the last line of a list.
type End struct {
	Count *int   // number of lines before it; nil if the line does not have it
	Next  string // the first key of the rest, "" if nothing was cut or the order is another
	// Cursor continues the list, "" if there is no rest.
	Cursor string
	// Error says why the list has ended early, nil if it has not.
	Error *Problem
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
// The item has a clock if the line has the time that is left of it. For the last line, end is not
// nil and there is no item.
func ParseListLine(line []byte, keysOnly bool) (item ListItem, end *End, err error) {
	if !utf8.Valid(line) {
		return ListItem{}, nil, errNotUTF8
	}
	var j ListLine
	if err := json.Unmarshal(line, &j); err != nil {
		return ListItem{}, nil, err
	}
	if j.isEnd() || (j.Error != nil && j.Key == nil && j.KeyB64 == nil) {
		if j.NextB64 != nil {
			j.Next = string(j.NextB64)
		}
		return ListItem{}, &End{Count: j.Count, Next: j.Next, Cursor: j.Cursor, Error: j.Error}, nil
	}
	item.Item, err = j.listed(keysOnly)
	if j.TTLMillis != nil && item.Deadline != 0 {
		item.Clock = item.Deadline - *j.TTLMillis
	}
	return item, nil, err
}

// listed returns the item of a line of a list, without its value if keysOnly is set.
func (j *ListLine) listed(keysOnly bool) (kv.Item, error) {
	item, err := j.item(keysOnly)
	item.CreateRevision, item.ModRevision, item.Version = j.CreateRevision, j.ModRevision, j.Version
	item.Lease = kv.LeaseID(j.Lease)
	return item, err
}

// isEnd reports whether j is the last line of a list.
func (j *Line) isEnd() bool { return j.End && j.Key == nil && j.KeyB64 == nil }

// item returns the key, the value and the attributes of j.
func (j *Line) item(keysOnly bool) (kv.Item, error) {
	i := kv.Item{Flags: j.Flags, ContentType: j.ContentType}
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
	var err error
	i.Deadline, err = ParseDeadline(j.ExpiresAt)
	return i, err
}

// WriteLine writes the key, the value and the attributes of i as a line, with one call of
// w.Write.
func WriteLine(w io.Writer, i kv.Item) error { return writeLine(w, newLine(i, false)) }

// WriteListLine writes i as a line of a list, without the value if keysOnly is set. left is what
// is left of its time to live, 0 if that is not known.
func WriteListLine(w io.Writer, i kv.Item, left time.Duration, keysOnly bool) error {
	return writeLine(w, struct {
		Line
		CreateRevision uint64  `json:"create_revision"`
		ModRevision    uint64  `json:"mod_revision"`
		Version        uint64  `json:"version"`
		Lease          LeaseID `json:"lease,omitempty"`
		TTLMillis      int64   `json:"ttl_ms,omitempty"`
	}{newLine(i, keysOnly), i.CreateRevision, i.ModRevision, i.Version, LeaseID(i.Lease), left.Milliseconds()})
}

// newLine returns the key, the attributes and, unless keysOnly is set, the value of i.
func newLine(i kv.Item, keysOnly bool) Line {
	j := Line{Flags: i.Flags, ContentType: i.ContentType, ExpiresAt: FormatDeadline(i.Deadline)}
	if key := []byte(i.Key); utf8.Valid(key) {
		j.Key = &i.Key
	} else {
		j.KeyB64 = &key
	}
	switch {
	case keysOnly:
	case utf8.Valid(i.Value):
		value := string(i.Value)
		j.Value = &value
	default:
		j.ValueB64 = &i.Value
	}
	return j
}

func writeLine(w io.Writer, line any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(line)
}
