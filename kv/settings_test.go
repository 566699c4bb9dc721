package kv_test

import (
	"errors"
	"testing"
	"time"

	"github.com/kvorum/kvorum/kv"
)

func TestSettings_Validate(t *testing.T) {
	for field, s := range map[string]kv.Settings{
		"":                  {History: kv.Retention{MaxAge: time.Second, MaxRevisions: 1, MaxBytes: 1 << 20}, MaxKeyBytes: 1, MaxValueBytes: 64 << 20, MaxRequestOps: 1024},
		"history.max_age":   {History: kv.Retention{MaxAge: time.Millisecond}},
		"history.max_bytes": {History: kv.Retention{MaxBytes: -1}},
		"max_key_bytes":     {MaxKeyBytes: 4<<10 + 1},
		"max_value_bytes":   {MaxValueBytes: -1},
		"max_request_ops":   {MaxRequestOps: 1025},

		"idempotency.window":    {Idempotency: kv.Idempotency{Window: time.Second - 1, MaxKeys: 1 << 30}},
		"idempotency.max_keys":  {Idempotency: kv.Idempotency{Window: time.Second, MaxKeys: 1<<30 + 1}},
		"idempotency.max_bytes": {Idempotency: kv.Idempotency{MaxKeys: 1, MaxBytes: -1}},

		"quota.max_keys":  {Quota: kv.Quota{MaxKeys: 1<<40 + 1, MaxBytes: 1 << 50}},
		"quota.max_bytes": {Quota: kv.Quota{MaxKeys: 1, MaxBytes: -1}},

		"quota.eviction":           {Quota: kv.Quota{MaxKeys: 1, Eviction: "none"}},
		"quota.protected_prefixes": {Quota: kv.Quota{MaxKeys: 1, Eviction: kv.EvictionLRU, ProtectedPrefixes: []string{"a", ""}}},
	} {
		err := s.Validate()
		if invalid := new(kv.ValidationError); (err == nil) != (field == "") || err != nil && (!errors.As(err, &invalid) || invalid.Field != field) {
			t.Errorf("%s: got %v", field, err)
		}
	}
	if err := (kv.Settings{}).Validate(); err != nil {
		t.Errorf("the defaults: got %v", err)
	}
}

func TestSettings_Defaults(t *testing.T) {
	node := kv.Limits{MaxKeyBytes: 10, MaxValueBytes: 20}
	if got := (kv.Settings{}).Limits(node); got != node {
		t.Errorf("got %+v, want %+v", got, node)
	}
	if got, want := (kv.Settings{MaxKeyBytes: 1, MaxValueBytes: 2, MaxRequestOps: 3}).Limits(node), (kv.Limits{MaxKeyBytes: 1, MaxValueBytes: 2, MaxRequestOps: 3}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got, want := (kv.Retention{MaxBytes: 5}).WithDefaults(), (kv.Retention{MaxAge: 10 * time.Minute, MaxBytes: 5}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}
