package kv_test

import (
	"errors"
	"testing"
	"time"

	"github.com/kvorum/kvorum/kv"
)

// TestRequest_Validate_Leases shows which requests about leases are refused, and that the error
// names the place.
func TestRequest_Validate_Leases(t *testing.T) {
	grant, revoke := kv.Grant(0, time.Second).Then[0], kv.Revoke(7).Then[0]
	attach := kv.Op{Kind: kv.OpPut, Key: "k", Lease: -7}
	for name, tt := range map[string]struct {
		request kv.Request
		field   string // "" if the request is valid
	}{
		"Grant":          {request: kv.Grant(0, time.Millisecond)},
		"GrantID":        {request: keyed(kv.Grant(-7, kv.MaxLeaseTTL), "i")},
		"Revoke":         {request: keyed(kv.Revoke(-7), "i")},
		"Attach":         {request: then(attach, put("l"))},
		"NoTTL":          {kv.Grant(7, 0), "then[0].ttl"},
		"NegativeTTL":    {kv.Grant(7, -time.Second), "then[0].ttl"},
		"LongTTL":        {kv.Grant(7, kv.MaxLeaseTTL+kv.MinTTL), "then[0].ttl"},
		"OddTTL":         {kv.Grant(7, time.Second+time.Microsecond), "then[0].ttl"},
		"RevokeNone":     {kv.Revoke(0), "then[0].lease"},
		"RevokeTTL":      {then(kv.Op{Kind: kv.OpRevoke, Lease: 7, TTL: time.Second}), "then[0].ttl"},
		"GrantKey":       {then(kv.Op{Kind: kv.OpGrant, Key: "k", TTL: time.Second}), "then[0].key"},
		"LeaseOfTouch":   {then(kv.Op{Kind: kv.OpTouch, Key: "k", TTL: time.Second, Lease: 7}), "then[0].lease"},
		"LeaseOfAdd":     {then(kv.Op{Kind: kv.OpAdd, Key: "k", Lease: 7}), "then[0].lease"},
		"GrantAndPut":    {then(put("k"), grant), "then[1]"},
		"TwoGrants":      {then(grant, grant), "then[0]"},
		"GrantIf":        {kv.Request{If: compares(1), Then: []kv.Op{grant}}, "then[0]"},
		"RevokeElse":     {kv.Request{Else: []kv.Op{revoke}}, "else[0]"},
		"RevokeInBoth":   {kv.Request{Then: []kv.Op{revoke}, Else: []kv.Op{revoke}}, "then[0]"},
		"NestedRevoke":   {then(put("k"), nested(kv.Request{Else: []kv.Op{revoke}})), "then[1].request.else[0]"},
		"NestedGrant":    {then(nested(then(grant))), "then[0].request.then[0]"},
		"AttachInNested": {request: then(nested(then(attach)))},
	} {
		err := tt.request.Validate(limits)
		if tt.field == "" {
			if err != nil {
				t.Errorf("%s: got %v", name, err)
			}
			continue
		}
		if got := new(kv.ValidationError); !errors.As(err, &got) || got.Field != tt.field {
			t.Errorf("%s: got %v, want an error in %s", name, err, tt.field)
		}
	}
	if grant, revoke := kv.Grant(0, time.Second), kv.Revoke(7); grant.ReadOnly() || revoke.ReadOnly() {
		t.Error("a grant or a revoke only reads")
	}
}

func TestEffectiveLeaseTTL(t *testing.T) {
	for _, tt := range []struct{ asked, want time.Duration }{
		{time.Millisecond, kv.MinLeaseTTL}, {kv.MinLeaseTTL, kv.MinLeaseTTL}, {kv.MaxLeaseTTL, kv.MaxLeaseTTL},
	} {
		if got := kv.EffectiveLeaseTTL(tt.asked); got != tt.want {
			t.Errorf("%v: got %v, want %v", tt.asked, got, tt.want)
		}
	}
}
