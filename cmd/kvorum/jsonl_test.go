package main

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestRecord_RoundTrip checks that what is written is what is read, byte for
// byte and on one line.
func TestRecord_RoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(
			rapid.StringN(1, 20, -1),
			rapid.Map(rapid.SliceOfN(rapid.Byte(), 1, 20), func(b []byte) string { return string(b) }),
		)
		want := record{text.Draw(t, "key"), []byte(text.Draw(t, "value"))}
		var buf bytes.Buffer
		if err := writeRecord(&buf, want); err != nil {
			t.Fatalf("write: %v", err)
		}
		line, err := newLineReader(&buf).next()
		if err != nil || buf.Len() > 0 {
			t.Fatalf("read the line: got %q, %v, and %d bytes more", line, err, buf.Len())
		}
		got, err := parseRecord(line, false)
		if err != nil || got.key != want.key || !bytes.Equal(got.value, want.value) {
			t.Fatalf("got %q, %v, want %q", got, err, want)
		}
	})
}

func FuzzParseRecord(f *testing.F) {
	f.Add([]byte(`{"key":"a","value":"b"}`))
	f.Add([]byte(`{"key_b64":"/w==","value_b64":""}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		r, err := parseRecord(line, false)
		if err != nil {
			return
		}
		var buf bytes.Buffer
		if err := writeRecord(&buf, r); err != nil {
			t.Fatalf("write what was read from %q: %v", line, err)
		}
		again, err := parseRecord(trimEnd(buf.Bytes()), false)
		if err != nil || again.key != r.key || !bytes.Equal(again.value, r.value) {
			t.Fatalf("%q: got %q, %v, want %q", line, again, err, r)
		}
	})
}

func TestLineReader(t *testing.T) {
	long := strings.Repeat("x", 200<<10)
	lines := newLineReader(strings.NewReader("a\n\r\n" + long + "\nlast"))
	for _, want := range []string{"a", "", long} {
		if got, err := lines.next(); err != nil || string(got) != want {
			t.Fatalf("got %.20q (%d bytes), %v, want %.20q", got, len(got), err, want)
		}
	}
	if got, err := lines.next(); !errors.Is(err, io.ErrUnexpectedEOF) || string(got) != "last" {
		t.Errorf("a last line without an end: got %q, %v", got, err)
	}
	if _, err := lines.next(); !errors.Is(err, io.EOF) {
		t.Errorf("at the end: got %v, want EOF", err)
	}
}

// TestLineReader_TooLong checks that a line beyond the bound is skipped whole,
// be it longer or shorter than what is read at once.
func TestLineReader_TooLong(t *testing.T) {
	for _, size := range []int{101, 1 << 20} {
		lines := newLineReader(strings.NewReader(strings.Repeat("x", size) + "\n" + strings.Repeat("y", 99) + "\n"))
		lines.max = 100
		if _, err := lines.next(); !errors.Is(err, errLineTooLong) {
			t.Fatalf("a line of %d bytes: got %v, want %v", size, err, errLineTooLong)
		}
		if got, err := lines.next(); err != nil || len(got) != 99 {
			t.Errorf("the line after it: got %q, %v", got, err)
		}
	}
}
