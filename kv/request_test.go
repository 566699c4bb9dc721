package kv_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/kvorum/kvorum/kv"
)

func TestRequest_Validate(t *testing.T) {
	ops := func(n int) (ops []kv.Op) {
		for i := range n {
			ops = append(ops, kv.Op{Kind: kv.OpPut, Key: fmt.Sprint("k", i)})
		}
		return ops
	}
	compares := make([]kv.Compare, kv.MaxRequestOps+1)
	for i := range compares {
		compares[i] = kv.Present("k")
	}
	for name, tt := range map[string]struct {
		request kv.Request
		valid   bool
	}{
		"Put":             {kv.Put("k", nil), true},
		"Most":            {kv.Request{If: compares[1:], Then: ops(kv.MaxRequestOps)}, true},
		"ComparedTwice":   {kv.Delete("k", kv.Present("k"), kv.ModRevision("k", 1)), true},
		"Nothing":         {kv.Request{If: compares[:1]}, false},
		"TooManyCompares": {kv.Delete("k", compares...), false},
		"TooManyOps":      {kv.Request{Then: ops(kv.MaxRequestOps + 1)}, false},
		"ChangedTwice":    {kv.Request{Then: append(ops(2), ops(1)...)}, false},
		"OpKind":          {kv.Request{Then: []kv.Op{{Kind: 3, Key: "k"}}}, false},
		"NoOpKind":        {kv.Request{Then: []kv.Op{{Key: "k"}}}, false},
		"CompareKind":     {kv.Put("k", nil, kv.Compare{Kind: 4, Key: "k"}), false},
		"NoCompareKind":   {kv.Put("k", nil, kv.Compare{Key: "k"}), false},
	} {
		err := tt.request.Validate()
		if invalid := new(kv.ValidationError); tt.valid != (err == nil) || err != nil && !errors.As(err, &invalid) {
			t.Errorf("%s: got %v, want valid %t", name, err, tt.valid)
		}
	}
}
