package kv_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/kvorum/kvorum/kv"
)

func put(key string) kv.Op         { return kv.Op{Kind: kv.OpPut, Key: key} }
func del(span kv.Span) kv.Op       { return kv.Op{Kind: kv.OpDelete, Span: span} }
func read(key string) kv.Op        { return kv.Op{Kind: kv.OpRange, Span: kv.One(key)} }
func nested(r kv.Request) kv.Op    { return kv.Op{Kind: kv.OpRequest, Nested: &r} }
func then(ops ...kv.Op) kv.Request { return kv.Request{Then: ops} }
func reads(n int) (ops []kv.Op)    { return append(ops, make([]kv.Op, n)...) }
func keyed(r kv.Request, key string) kv.Request {
	r.IdempotencyKey = key
	return r
}
func compares(n int) []kv.Compare { return repeat(kv.Present("k"), n) }
func repeat[T any](one T, n int) (all []T) {
	for range n {
		all = append(all, one)
	}
	return all
}

// limits are those of the tests: short keys and values.
var limits = kv.Limits{MaxKeyBytes: 4, MaxValueBytes: 5}

// TestRequest_Validate shows which requests are refused, and that the error names the
// place.
func TestRequest_Validate(t *testing.T) {
	value := func(n int) kv.Op { return kv.Op{Kind: kv.OpPut, Key: fmt.Sprint("k", n), Value: make([]byte, n)} }
	for name, tt := range map[string]struct {
		request kv.Request
		field   string // "" if the request is valid
		code    kv.Code
	}{
		"Put":              {request: kv.Put("k", nil)},
		"Idempotent":       {request: keyed(then(read("k"), put("k")), strings.Repeat("\xff", 256))},
		"LongIdempotency":  {keyed(then(put("k")), strings.Repeat("i", 257)), "idempotency_key", kv.CodeInvalid},
		"IdempotentRead":   {keyed(then(read("k"), nested(then(read("l")))), "i"), "idempotency_key", kv.CodeInvalid},
		"IdempotentNested": {then(put("k"), nested(keyed(then(put("l")), "i"))), "then[1].request.idempotency_key", kv.CodeInvalid},
		"Delete":           {request: kv.Delete("k", kv.Present("k"), kv.ModRevision("k", 1))},
		"ComparesAlone":    {request: kv.Request{If: compares(1)}},
		"ElseAlone":        {request: kv.Request{If: compares(1), Else: reads(0)}},
		"Most":             {request: kv.Request{If: compares(128), Then: repeat(read("k"), 128), Else: repeat(read("k"), 128)}},
		"LongestKey":       {request: kv.Delete("1234")},
		"LongestSpan":      {request: then(del(kv.Span{Start: "1234", End: "12345"}))},
		"LongestValue":     {request: then(value(5), put("k"))},
		"AllKeys":          {request: then(del(kv.All()))},
		"Nothing":          {kv.Request{}, "request", kv.CodeInvalid},
		"TooManyCompares":  {kv.Request{If: compares(129)}, "request", kv.CodeInvalid},
		"TooManyOps":       {then(repeat(read("k"), 129)...), "request", kv.CodeInvalid},
		"TooManyElse":      {kv.Request{If: compares(1), Else: repeat(read("k"), 129)}, "request", kv.CodeInvalid},
		"NoKind":           {then(kv.Op{Key: "k"}), "then[0].kind", kv.CodeInvalid},
		"Kind":             {then(put("k"), kv.Op{Kind: 11, Key: "k"}), "then[1].kind", kv.CodeInvalid},
		"NoTarget":         {kv.Put("k", nil, kv.Compare{Span: kv.One("k"), Relation: kv.Equal}), "if[0].target", kv.CodeInvalid},
		"Target":           {kv.Put("k", nil, kv.Compare{Span: kv.One("k"), Target: 6, Relation: kv.Equal}), "if[0].target", kv.CodeInvalid},
		"Relation":         {kv.Put("k", nil, kv.Compare{Span: kv.One("k"), Target: kv.TargetLease, Relation: 5}), "if[0].relation", kv.CodeInvalid},
		"NumberOfValue":    {kv.Put("k", nil, kv.Compare{Span: kv.One("k"), Target: kv.TargetValue, Relation: kv.Less, Number: 1}), "if[0].number", kv.CodeInvalid},
		"ValueOfNumber":    {kv.Put("k", nil, kv.Compare{Span: kv.One("k"), Target: kv.TargetLease, Relation: kv.Less, Value: []byte{1}}), "if[0].value", kv.CodeInvalid},
		"NoKey":            {kv.Put("", nil), "then[0].key", kv.CodeInvalid},
		"NoKeyDeleted":     {kv.Request{If: compares(1), Else: []kv.Op{del(kv.One(""))}}, "else[0].key", kv.CodeInvalid},
		"NoKeyCompared":    {kv.Put("k", nil, kv.Absent("")), "if[0].key", kv.CodeInvalid},
		"LongKey":          {kv.Put("12345", nil), "then[0].key", kv.CodeTooLarge},
		"LongSpan":         {then(del(kv.Prefix("12345"))), "then[0].span", kv.CodeTooLarge},
		"LongValue":        {then(value(6)), "then[0].value", kv.CodeTooLarge},
		"LongValues":       {then(value(3), value(2), value(1)), "then[2].value", kv.CodeTooLarge},
		"LongCompared":     {kv.Put("k", make([]byte, 5), kv.Compare{Span: kv.One("k"), Target: kv.TargetValue, Relation: kv.Less, Value: []byte{1}}), "then[0].value", kv.CodeTooLarge},
		"LongContentType":  {then(kv.Op{Kind: kv.OpPut, Key: "k", ContentType: strings.Repeat("t", 256)}), "then[0].content_type", kv.CodeTooLarge},
		"SpanOfPut":        {then(kv.Op{Kind: kv.OpPut, Key: "k", Span: kv.One("k")}), "then[0].span", kv.CodeInvalid},
		"KeyOfDelete":      {then(kv.Op{Kind: kv.OpDelete, Key: "k"}), "then[0].key", kv.CodeInvalid},
		"FlagsOfAdd":       {then(kv.Op{Kind: kv.OpAdd, Key: "k", Flags: 1}), "then[0].flags", kv.CodeInvalid},
		"NegativeLimit":    {then(kv.Op{Kind: kv.OpRange, Range: &kv.RangeOptions{Limit: -1}}), "then[0].limit", kv.CodeInvalid},
		"NoMaxBytes":       {then(kv.Op{Kind: kv.OpAppend, Key: "k"}), "then[0].max_bytes", kv.CodeInvalid},
		"TTL":              {request: then(kv.Op{Kind: kv.OpPut, Key: "k", TTL: kv.MinTTL}, kv.Op{Kind: kv.OpAdd, Key: "l", TTL: kv.MaxTTL})},
		"PutTTL":           {request: kv.PutTTL("k", nil, time.Second, kv.Absent("k"))},
		"Touch":            {request: kv.Touch("k", time.Second, kv.Present("k"))},
		"Persist":          {request: kv.Persist("k", kv.Present("k"))},
		"NoTTL":            {kv.Touch("k", 0), "then[0].ttl", kv.CodeInvalid},
		"ShortTTL":         {kv.Touch("k", time.Microsecond), "then[0].ttl", kv.CodeInvalid},
		"NegativeTTL":      {kv.PutTTL("k", nil, -time.Second), "then[0].ttl", kv.CodeInvalid},
		"LongTTL":          {kv.PutTTL("k", nil, kv.MaxTTL+kv.MinTTL), "then[0].ttl", kv.CodeInvalid},
		"OddTTL":           {kv.PutTTL("k", nil, time.Second+time.Microsecond), "then[0].ttl", kv.CodeInvalid},
		"TTLOfPersist":     {then(kv.Op{Kind: kv.OpPersist, Key: "k", TTL: time.Second}), "then[0].ttl", kv.CodeInvalid},
		"TTLOfDelete":      {then(kv.Op{Kind: kv.OpDelete, Span: kv.One("k"), TTL: time.Second}), "then[0].ttl", kv.CodeInvalid},
		"ValueOfTouch":     {then(kv.Op{Kind: kv.OpTouch, Key: "k", TTL: time.Second, Value: []byte{}}), "then[0].value", kv.CodeInvalid},
		"NoKeyTouched":     {kv.Touch("", time.Second), "then[0].key", kv.CodeInvalid},
		"NoNested":         {then(kv.Op{Kind: kv.OpRequest}), "then[0].request", kv.CodeInvalid},
		"NestedKey":        {then(put("k"), nested(kv.Request{Else: []kv.Op{read(""), put("")}})), "then[1].request.else[0].key", kv.CodeInvalid},
		"NestedEmpty":      {request: then(nested(kv.Request{}))},
		"NestedBudget":     {request: then(append(repeat(read("k"), 63), nested(then(repeat(read("k"), 64)...)))...)},
		"NestedOverBudget": {then(append(repeat(read("k"), 63), nested(then(repeat(read("k"), 65)...)))...), "then[63].request", kv.CodeInvalid},
		"TooManyParts": {then(repeat(nested(then(repeat(nested(then(repeat(read("k"), 40)...)), 40)...)), 40)...),
			"then[1].request.then[8].request", kv.CodeInvalid},
	} {
		err := tt.request.Validate(limits)
		if tt.field == "" {
			if err != nil {
				t.Errorf("%s: got %v", name, err)
			}
			continue
		}
		if got := new(kv.ValidationError); !errors.As(err, &got) || got.Field != tt.field || kv.Classify(err).Code != tt.code {
			t.Errorf("%s: got %v, want %s in %s", name, err, tt.code, tt.field)
		}
	}
}

// TestRequest_Validate_Changes shows which changes of one request exclude each other. The
// rules are those of etcd.
func TestRequest_Validate_Changes(t *testing.T) {
	a, ab := put("a"), del(kv.Span{Start: "a", End: "b"})
	for name, tt := range map[string]struct {
		request kv.Request
		valid   bool
	}{
		"Twice":                 {then(a, put("b"), a), false},
		"TwiceAdded":            {then(a, kv.Op{Kind: kv.OpAdd, Key: "a", Delta: 1}), false},
		"TwiceAppended":         {then(kv.Op{Kind: kv.OpAppend, Key: "a", MaxBytes: 1}, kv.Op{Kind: kv.OpAppend, Key: "a", MaxBytes: 1}), false},
		"TwiceTouched":          {then(a, kv.Op{Kind: kv.OpTouch, Key: "a", TTL: time.Second}), false},
		"TwicePersisted":        {then(kv.Op{Kind: kv.OpPersist, Key: "a"}, a), false},
		"TouchAndDelete":        {then(kv.Op{Kind: kv.OpTouch, Key: "a", TTL: time.Second}, ab), false},
		"InBothBranches":        {kv.Request{Then: []kv.Op{a}, Else: []kv.Op{a}}, true},
		"TwiceInElse":           {kv.Request{Else: []kv.Op{a, a}}, false},
		"PutAndDelete":          {then(a, ab), false},
		"DeleteAndPut":          {then(ab, a), false},
		"BesideDelete":          {then(ab, put("b")), true},
		"DeletesOverlap":        {then(ab, del(kv.One("a")), del(kv.Prefix("a"))), true},
		"ReadsOverlap":          {then(ab, read("a"), read("a")), true},
		"DeleteWithoutEnd":      {then(a, del(kv.From("a")), put("b")), true},
		"DeleteOfAll":           {then(del(kv.All()), a), true},
		"NestedTwice":           {then(a, nested(then(a))), false},
		"NestedElse":            {then(a, nested(kv.Request{Else: []kv.Op{a}})), false},
		"NestedBothBranches":    {then(nested(kv.Request{Then: []kv.Op{a}, Else: []kv.Op{a}})), true},
		"Siblings":              {then(nested(then(a)), nested(then(a))), false},
		"SiblingsElse":          {then(nested(then(a)), nested(kv.Request{Else: []kv.Op{a}})), false},
		"NestedPutDeleted":      {then(nested(then(a)), ab), false},
		"NestedElsePutDeleted":  {then(ab, nested(kv.Request{Else: []kv.Op{a}})), false},
		"NestedDelete":          {then(nested(then(ab)), a), false},
		"NestedElseDelete":      {then(a, nested(kv.Request{Else: []kv.Op{ab}})), false},
		"SiblingDeletesEarlier": {then(nested(then(ab)), nested(then(a))), false},
		"SiblingDeletesLater":   {then(nested(then(a)), nested(then(ab))), true},
		"DeepDelete":            {then(a, nested(then(nested(then(ab))))), false},
	} {
		if err := tt.request.Validate(limits); tt.valid != (err == nil) {
			t.Errorf("%s: got %v, want valid %t", name, err, tt.valid)
		}
	}
}

func TestRequest_ReadOnly(t *testing.T) {
	for name, tt := range map[string]struct {
		request kv.Request
		want    bool
	}{
		"Compares":   {kv.Request{If: compares(1)}, true},
		"Range":      {then(read("a")), true},
		"Put":        {then(read("a"), put("a")), false},
		"Touch":      {kv.Touch("a", time.Second), false},
		"Persist":    {kv.Persist("a"), false},
		"Else":       {kv.Request{Then: []kv.Op{read("a")}, Else: []kv.Op{put("a")}}, false},
		"Nested":     {then(nested(then(read("a")))), true},
		"NestedElse": {then(nested(kv.Request{Else: []kv.Op{put("a")}})), false},
	} {
		if got := tt.request.ReadOnly(); got != tt.want {
			t.Errorf("%s: got %t", name, got)
		}
	}
}

// TestCompare_Holds shows each target and each relation, for a key below, at and above what
// it is compared with, and for one that does not exist.
func TestCompare_Holds(t *testing.T) {
	item := kv.Item{Key: "k", Value: []byte("m"), CreateRevision: 7, ModRevision: 7, Version: 7, Lease: 7}
	relations := []kv.Relation{kv.Equal, kv.NotEqual, kv.Greater, kv.Less}
	for _, target := range []kv.Target{kv.TargetVersion, kv.TargetCreateRevision, kv.TargetModRevision, kv.TargetLease} {
		for number, want := range map[int64][]bool{
			6: {false, true, true, false}, 7: {true, false, false, false}, 8: {false, true, false, true}, -1: {false, true, true, false},
		} {
			for i, relation := range relations {
				c := kv.Compare{Span: kv.One("k"), Target: target, Relation: relation, Number: number}
				if got := c.Holds(&item); got != want[i] {
					t.Errorf("target %d, relation %d to %d: got %t", target, relation, number, got)
				}
			}
		}
		for i, want := range []bool{true, false, false, false} {
			c := kv.Compare{Span: kv.One("k"), Target: target, Relation: relations[i]}
			if got := c.Holds(nil); got != want {
				t.Errorf("no key, target %d, relation %d to 0: got %t", target, relations[i], got)
			}
		}
	}
	for value, want := range map[string][]bool{
		"l": {false, true, true, false}, "m": {true, false, false, false}, "ma": {false, true, false, true}, "": {false, true, true, false},
	} {
		for i, relation := range relations {
			c := kv.Compare{Span: kv.One("k"), Target: kv.TargetValue, Relation: relation, Value: []byte(value)}
			if got := c.Holds(&item); got != want[i] {
				t.Errorf("value, relation %d to %q: got %t", relation, value, got)
			}
			if c.Holds(nil) {
				t.Errorf("value of no key, relation %d to %q: holds", relation, value)
			}
		}
	}
}
