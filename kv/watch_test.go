package kv_test

import (
	"testing"
	"time"

	"github.com/kvorum/kvorum/kv"
)

func TestEventKind_Names(t *testing.T) {
	for k, name := range map[kv.EventKind]string{
		kv.EventPut: "put", kv.EventDelete: "delete", kv.EventExpire: "expire", kv.EventEvict: "evict",
	} {
		if got, ok := kv.EventKindOf(name); !ok || got != k || k.String() != name {
			t.Errorf("%s: got %v %v, text %v", name, got, ok, k)
		}
	}
	if _, ok := kv.EventKindOf("unknown"); ok || kv.EventKind(9).String() != "unknown" {
		t.Error("an unknown kind has a name")
	}
}

func TestKinds_Has(t *testing.T) {
	set := kv.Kinds(kv.EventDelete, kv.EventExpire)
	for k, want := range map[kv.EventKind]bool{kv.EventPut: false, kv.EventDelete: true, kv.EventExpire: true, kv.EventEvict: false} {
		if set.Has(k) != want || !kv.Kinds().Has(k) {
			t.Errorf("%v: got %v", k, set.Has(k))
		}
	}
}

func TestWatchOptions_Validate(t *testing.T) {
	for _, tt := range []struct {
		options kv.WatchOptions
		field   string // "" if they are valid
	}{
		{kv.WatchOptions{}, ""},
		{kv.WatchOptions{Span: kv.One("a"), From: 7, Progress: time.Second}, ""},
		{kv.WatchOptions{Span: kv.Span{Start: "b", End: "b"}}, "span"},
		{kv.WatchOptions{From: 7, Snapshot: true}, "from_revision"},
		{kv.WatchOptions{Progress: kv.MinWatchProgress - 1}, "progress"},
		{kv.WatchOptions{Progress: -1}, "progress"},
	} {
		err := tt.options.Validate()
		invalid, _ := err.(*kv.ValidationError)
		if (err != nil) != (tt.field != "") || invalid != nil && invalid.Field != tt.field {
			t.Errorf("%+v: got %v", tt.options, err)
		}
	}
}
