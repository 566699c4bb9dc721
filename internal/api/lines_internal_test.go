package api

import (
	"errors"
	"io"
	"strings"
	"testing"
)

func TestLines(t *testing.T) {
	long := strings.Repeat("x", 200<<10)
	lines := NewLines(strings.NewReader("a\n\r\n" + long + "\nlast"))
	for _, want := range []string{"a", "", long} {
		if got, err := lines.Next(); err != nil || string(got) != want {
			t.Fatalf("got %.20q (%d bytes), %v, want %.20q", got, len(got), err, want)
		}
	}
	if got, err := lines.Next(); !errors.Is(err, io.ErrUnexpectedEOF) || string(got) != "last" {
		t.Errorf("a last line without an end: got %q, %v", got, err)
	}
	if _, err := lines.Next(); !errors.Is(err, io.EOF) {
		t.Errorf("at the end: got %v, want EOF", err)
	}
}

// TestLines_TooLong checks that a line above the maximum is skipped as a whole, whether it
// is longer or shorter than the reader's buffer.
func TestLines_TooLong(t *testing.T) {
	for _, size := range []int{101, 1 << 20} {
		lines := NewLines(strings.NewReader(strings.Repeat("x", size) + "\n" + strings.Repeat("y", 99) + "\n"))
		lines.max = 100
		if _, err := lines.Next(); !errors.Is(err, ErrLineTooLong) {
			t.Fatalf("a line of %d bytes: got %v, want %v", size, err, ErrLineTooLong)
		}
		if got, err := lines.Next(); err != nil || len(got) != 99 {
			t.Errorf("the line after it: got %q, %v", got, err)
		}
	}
}
