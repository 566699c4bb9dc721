package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"
)

// JSON lines are what a listing streams, export writes and import reads: one
// object a line, {"key": …, "value": …}. Bytes that are not UTF-8 are base64 in
// "key_b64" and "value_b64" instead. Other members are ignored. A line without a
// key that has "end": true is the last one of a listing, and says how many came
// before it; in a file it is skipped.

// maxLineBytes bounds a line: the longest key and value with every byte
// escaped as \u00XX, and room for other members. Memory is taken as bytes come.
const maxLineBytes = 6*(maxValueBytes+4<<10) + 64<<10

// errLineTooLong is returned for a line above maxLineBytes.
var errLineTooLong = errors.New("line is too long")

// record is one key and its value.
type record struct {
	key   string
	value []byte
}

// jsonRecord is the JSON shape of a record; nil means that a member is missing.
type jsonRecord struct {
	Key      *string `json:"key,omitempty"`
	KeyB64   *[]byte `json:"key_b64,omitempty"`
	Value    *string `json:"value,omitempty"`
	ValueB64 *[]byte `json:"value_b64,omitempty"`
	// End and Count are those of a listing's last line.
	End   bool `json:"end,omitempty"`
	Count *int `json:"count,omitempty"`
}

// endError is returned by parseRecord for the last line of a listing.
type endError struct{ count *int } // the lines before it; nil where it does not say

// Error implements error.
func (*endError) Error() string { return "is the end of a listing, not a record" }

// parseRecord reads a line. A record without a key, or with two, is an error,
// and so is one without a value unless keysOnly, or with two; so is text that
// is not UTF-8, which JSON would replace. The end of a listing is an *endError.
func parseRecord(line []byte, keysOnly bool) (record, error) {
	if !utf8.Valid(line) {
		return record{}, errors.New("is not UTF-8; use key_b64 and value_b64 for bytes")
	}
	var j jsonRecord
	if err := json.Unmarshal(line, &j); err != nil {
		return record{}, err
	}
	var r record
	switch {
	case j.End && j.Key == nil && j.KeyB64 == nil:
		return r, &endError{j.Count}
	case (j.Key == nil) == (j.KeyB64 == nil):
		return r, errors.New("needs exactly one of key and key_b64")
	case j.Value != nil && j.ValueB64 != nil, j.Value == nil && j.ValueB64 == nil && !keysOnly:
		return r, errors.New("needs exactly one of value and value_b64")
	case j.Key != nil:
		r.key = *j.Key
	default:
		r.key = string(*j.KeyB64)
	}
	switch {
	case j.Value != nil:
		r.value = []byte(*j.Value)
	case j.ValueB64 != nil:
		r.value = *j.ValueB64
	}
	if r.key == "" {
		return r, errors.New("the key is empty")
	}
	return r, nil
}

// writeRecord writes r as a line.
func writeRecord(w io.Writer, r record) error {
	var j jsonRecord
	if key := []byte(r.key); utf8.Valid(key) {
		j.Key = &r.key
	} else {
		j.KeyB64 = &key
	}
	if utf8.Valid(r.value) {
		value := string(r.value)
		j.Value = &value
	} else {
		j.ValueB64 = &r.value
	}
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(j)
}

// lineReader splits a stream into lines of bounded length.
type lineReader struct {
	r    *bufio.Reader
	max  int          // longest line, with its end
	long bytes.Buffer // a line longer than r's buffer
}

func newLineReader(r io.Reader) *lineReader {
	return &lineReader{r: bufio.NewReaderSize(r, 64<<10), max: maxLineBytes}
}

// next returns the next line without its end, valid until the next call. It
// returns errLineTooLong once it has skipped such a line, io.EOF at the end of
// the stream, and io.ErrUnexpectedEOF with a last line that has no end.
func (l *lineReader) next() ([]byte, error) {
	l.long.Reset()
	tooLong := false
	for {
		part, err := l.r.ReadSlice('\n')
		if l.long.Len()+len(part) > l.max {
			tooLong = true
			l.long.Reset()
		}
		if err == nil && !tooLong && l.long.Len() == 0 {
			return trimEnd(part), nil
		}
		if !tooLong {
			l.long.Write(part)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case tooLong && (err == nil || errors.Is(err, io.EOF)):
			return nil, fmt.Errorf("%w: more than %d bytes", errLineTooLong, l.max)
		case errors.Is(err, io.EOF) && l.long.Len() > 0:
			return l.long.Bytes(), io.ErrUnexpectedEOF
		case err != nil:
			return nil, err
		}
		return trimEnd(l.long.Bytes()), nil
	}
}

// trimEnd cuts a line's end, "\n" or "\r\n".
func trimEnd(line []byte) []byte {
	return bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r"))
}
