package kv_test

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/kvorum/kvorum/kv"
)

func TestSpan_Key(t *testing.T) {
	for _, tt := range []struct {
		span kv.Span
		key  string
		one  bool
	}{
		{kv.One("a"), "a", true},
		{kv.One("\xff"), "\xff", true},
		{kv.One("a\x00"), "a\x00", true},
		{kv.Span{Start: "a", End: "b\x00"}, "", false},
		{kv.Span{Start: "a", End: "a"}, "", false},
		{kv.Span{Start: "a", End: "a\x00\x00"}, "", false},
		{kv.Span{Start: "a", End: "b"}, "", false},
		{kv.From("a"), "", false},
		{kv.Prefix("a"), "", false},
		{kv.All(), "", false},
	} {
		if key, one := tt.span.Key(); one != tt.one || one && key != tt.key {
			t.Errorf("%v: got %q, %t, want %q, %t", tt.span, key, one, tt.key, tt.one)
		}
	}
}

// TestSpan_Contains compares the spans of each kind with their definitions.
func TestSpan_Contains(t *testing.T) {
	text := rapid.StringOfN(rapid.SampledFrom([]rune{0, 1, 'a', 'b', 0xfe, 0xff}), 0, 3, -1)
	bytesOf := func(s string) string { // each rune as one byte
		b := make([]byte, 0, len(s))
		for _, r := range s {
			b = append(b, byte(r))
		}
		return string(b)
	}
	rapid.Check(t, func(t *rapid.T) {
		key, a, b := bytesOf(text.Draw(t, "key")), bytesOf(text.Draw(t, "a")), bytesOf(text.Draw(t, "b"))
		for name, tt := range map[string]struct {
			span kv.Span
			want bool
		}{
			"One":    {kv.One(a), key == a},
			"Prefix": {kv.Prefix(a), strings.HasPrefix(key, a)},
			"From":   {kv.From(a), key >= a},
			"All":    {kv.All(), true},
			"Both":   {kv.Span{Start: a, End: b}, key >= a && (b == "" || key < b)},
		} {
			if got := tt.span.Contains(key); got != tt.want {
				t.Errorf("%s: %+v contains %q: got %t, want %t", name, tt.span, key, got, tt.want)
			}
			if tt.span.Empty() && tt.want {
				t.Errorf("%s: %+v is empty and contains %q", name, tt.span, key)
			}
		}
		one, two := kv.Span{Start: a, End: b}, kv.Prefix(key)
		if one.Contains(key) && !one.Overlaps(two) || one.Overlaps(two) != two.Overlaps(one) || one.Empty() && one.Overlaps(two) {
			t.Errorf("%+v overlaps %+v: got %t, and %t", one, two, one.Overlaps(two), two.Overlaps(one))
		}
	})
}

func TestSpan_String(t *testing.T) {
	for want, span := range map[string]kv.Span{
		`"a"`: kv.One("a"), "all keys": kv.All(), `keys from "a"`: kv.From("a"), `keys from "a" to "b"`: kv.Prefix("a"),
	} {
		if got := span.String(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
