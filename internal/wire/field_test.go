package wire_test

import (
	"bytes"
	"testing"

	"github.com/kvorum/kvorum/internal/wire"
)

// TestField shows that a field is the same as one of AppendBytes, whatever the guess.
func TestField(t *testing.T) {
	for _, length := range []int{0, 1, 127, 128, 300, 1<<14 - 1, 1 << 14} {
		content := bytes.Repeat([]byte{7}, length)
		for _, guess := range []int{0, 127, 128, 1 << 14, 1 << 30} {
			got, outer := wire.OpenField([]byte("before"), guess)
			got = append(got, "outer"...)
			got, inner := wire.OpenField(got, guess)
			got = inner.Close(append(got, content...))
			got = outer.Close(append(got, "end"...))
			want := append([]byte("outer"), wire.AppendBytes(nil, content)...)
			want = wire.AppendBytes([]byte("before"), append(want, "end"...))
			if !bytes.Equal(got, want) {
				t.Errorf("%d bytes, guess %d: got %x, want %x", length, guess, got, want)
			}
		}
	}
}
