package api

import (
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"testing"

	"github.com/kvorum/kvorum/kv"
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

// TestWatchLines_LongestMessage shows that the longest message of a watch is within the maximum: as
// many events as possible, each with a previous item, and with every byte escaped.
func TestWatchLines_LongestMessage(t *testing.T) {
	const escaped = len(`\u0000`)
	item := fmt.Sprintf(`"key_b64":"","value_b64":"","create_revision":%d,"mod_revision":%[1]d,"version":%[1]d,"lease":%d,"flags":%d,"content_type":%q`,
		uint64(math.MaxUint64), math.MinInt64, uint32(math.MaxUint32), strings.Repeat("x", escaped*kv.MaxContentTypeBytes))
	event := fmt.Sprintf(`{"op":"delete",%s,"prev":{%[1]s}},`, item)
	longest := len(`{"type":"changes","revision":18446744073709551615,"partial":true,"events":[]}`) + kv.MaxWatchEvents*len(event) +
		escaped*(kv.MaxWatchBytes+2*(kv.LimitMaxKeyBytes+kv.LimitMaxValueBytes))
	if most := NewWatchLines(strings.NewReader("")).max; longest > most {
		t.Errorf("the longest message has %d bytes, the maximum is %d", longest, most)
	}
}
