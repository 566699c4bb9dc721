package httpapi

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/kvorum/kvorum/internal/strictjson"
	"github.com/kvorum/kvorum/kv"
)

// A transaction is the JSON of a kv.Request:
//
//	{"if":[{"key":"a","mod_revision":7},{"prefix":"lock/","exists":false}],
//	 "then":[{"put":{"key":"a","value":"x"}},{"add":{"key":"n","delta":1}}],
//	 "else":[{"get":{"key":"a"}}], "idempotency_key":"7f3a"}
//
// A compare names its keys, and one of value, version, create_revision, mod_revision, lease
// and exists; "is" is one of "=", "!=", "<" and ">", and "=" if it is missing. An operation
// is an object of one member, whose name is its kind. Keys and values that are not UTF-8 are
// base64 in key_b64, prefix_b64, start_b64, end_b64 and value_b64.

// opInfo describes a kind of operation.
type opInfo struct {
	name     string
	known    []string // its members
	required []string
}

// opInfos describes the kinds of operations, except a nested transaction.
var opInfos = []opInfo{
	{"put", []string{"key", "value", "flags", "content_type", "ttl", "lease", "prev"}, []string{"key", "value"}},
	{"delete", append([]string{"prev"}, spanMembers...), nil},
	{"get", []string{"key", "revision", "keys_only"}, []string{"key"}},
	{"range", append([]string{
		"limit", "revision", "reverse", "keys_only",
		"min_mod_revision", "max_mod_revision", "min_create_revision", "max_create_revision",
	}, spanMembers...), nil},
	{"count", append([]string{"revision"}, spanMembers...), nil},
	{"add", []string{"key", "delta", "ttl", "prev"}, []string{"key", "delta"}},
	{"append", []string{"key", "value", "ttl", "prev"}, []string{"key", "value"}},
	{"touch", []string{"key", "ttl", "prev"}, []string{"key", "ttl"}},
	{"persist", []string{"key", "prev"}, []string{"key"}},
	{grantOp, []string{"ttl", "lease"}, []string{"ttl"}},
	{revokeOp, []string{"lease"}, []string{"lease"}},
}

// Names of operations that are not those of keys.
const (
	nestedOp = "txn"    // a nested transaction
	grantOp  = "grant"  // makes a lease
	revokeOp = "revoke" // ends a lease
)

// requestReader reads transactions.
type requestReader struct {
	*strictjson.Reader
	appendBytes int // maximum length of a value after an append
	parts       int // compares and operations so far
}

// readRequest returns the transaction in a body, or a *kv.ValidationError that names the
// place of what is wrong. It is not validated yet.
func (s *Server) readRequest(body []byte) (kv.Request, error) {
	r := s.newRequestReader(body)
	request := r.request()
	r.End()
	return request, bodyError(r.Err())
}

// newRequestReader returns a reader of one transaction.
func (s *Server) newRequestReader(text []byte) *requestReader {
	return &requestReader{Reader: strictjson.New(text), appendBytes: s.maxValue()}
}

// bodyError returns the error of a strictjson.Reader as a *kv.ValidationError.
func bodyError(err error) error {
	bad := (*strictjson.Error)(nil)
	if !errors.As(err, &bad) {
		return err
	}
	if bad.Path == "" {
		return invalidField("body", bad.Reason)
	}
	return invalidField(bad.Path, bad.Reason)
}

// request reads a transaction.
func (r *requestReader) request() (request kv.Request) {
	r.Object(func(name string) bool { return r.part(name, &request) })
	return request
}

// part reads the member of a transaction with a name, and reports whether there is one.
func (r *requestReader) part(name string, request *kv.Request) bool {
	switch name {
	case "if":
		r.Array(func(int) { request.If = append(request.If, r.compare()) })
	case "then":
		r.Array(func(int) { request.Then = append(request.Then, r.op()) })
	case "else":
		r.Array(func(int) { request.Else = append(request.Else, r.op()) })
	case idempotencyMember:
		request.IdempotencyKey = r.idempotencyKey()
	default:
		return false
	}
	return true
}

// transactionOrOp reads a transaction or an operation. single reports that it was an
// operation, which is the only one of the request.
func (r *requestReader) transactionOrOp() (request kv.Request, single bool) {
	members := 0
	r.Object(func(name string) bool {
		if name == idempotencyMember {
			return r.part(name, &request)
		}
		members++
		if !single && r.part(name, &request) {
			return true
		}
		op, known := r.opNamed(name)
		switch {
		case !known:
			return false
		case members > 1:
			r.Fail("is given beside other members: a line is a transaction or one operation")
		}
		request.Then, single = []kv.Op{op}, true
		return true
	})
	return request, single
}

// idempotencyMember is the member of a transaction, or of a line with one operation, that is its
// idempotency key.
const idempotencyMember = "idempotency_key"

// idempotencyKey reads an idempotency key.
func (r *requestReader) idempotencyKey() string {
	key := r.String()
	if key == "" {
		r.Fail("must have 1 to %d bytes", kv.MaxIdempotencyKeyBytes)
	}
	return key
}

// count counts a compare or an operation. Their number is limited here too, since one takes
// more memory than its text.
func (r *requestReader) count() {
	if r.parts++; r.parts > kv.MaxRequestParts {
		r.Fail("is too many: the limit is %d compares and operations, with those of nested transactions", kv.MaxRequestParts)
	}
}

// targets are the members of a compare that say what it looks at.
var targets = []string{"value", "version", "create_revision", "mod_revision", "lease", "exists"}

var (
	targetOf = map[string]kv.Target{
		"value": kv.TargetValue, "version": kv.TargetVersion, "exists": kv.TargetVersion,
		"create_revision": kv.TargetCreateRevision, "mod_revision": kv.TargetModRevision, "lease": kv.TargetLease,
	}
	relationOf     = map[string]kv.Relation{"": kv.Equal, "=": kv.Equal, "!=": kv.NotEqual, ">": kv.Greater, "<": kv.Less}
	compareMembers = slices.Concat(targets, spanMembers, []string{"is"})
)

// compare reads a condition.
func (r *requestReader) compare() kv.Compare {
	r.count()
	o := readObject(r.Reader, compareMembers)
	c := kv.Compare{Span: o.span(r.Reader)}
	target := ""
	for _, name := range targets {
		switch {
		case !o.has(name):
		case target != "":
			r.FailAt(name, "is given beside %s: a compare takes one of %s", target, strings.Join(targets, ", "))
		default:
			target = name
		}
	}
	if target == "" {
		r.Fail("compares nothing: it needs one of %s", strings.Join(targets, ", "))
	}
	c.Target, c.Number, c.Value = targetOf[target], o.find(target).number, o.find(target).text
	relation, known := relationOf[string(o.find("is").text)]
	switch {
	case o.has("is") && (!known || len(o.find("is").text) == 0):
		r.FailAt("is", `must be "=", "!=", "<" or ">"`)
	case o.has("is") && target == "exists":
		r.FailAt("is", "is not for exists, which is true or false")
	case target == "exists" && o.find(target).flag:
		relation = kv.Greater // than version 0
	}
	c.Relation = relation
	return c
}

// op reads an operation.
func (r *requestReader) op() (op kv.Op) {
	r.count()
	kinds := 0
	r.Object(func(name string) bool {
		if kinds++; kinds > 1 {
			r.Fail("is a second kind: an operation has one")
			return true
		}
		var known bool
		op, known = r.opNamed(name)
		return known
	})
	if kinds == 0 {
		r.Fail("is empty: an operation has one member, which is its kind")
	}
	return op
}

// opNamed reads the operation of a kind, and reports whether there is such a kind.
func (r *requestReader) opNamed(name string) (kv.Op, bool) {
	switch name {
	case nestedOp:
		nested := r.request()
		return kv.Op{Kind: kv.OpRequest, Nested: &nested}, true
	case grantOp:
		return readGrant(r.Reader), true
	}
	i := slices.IndexFunc(opInfos, func(o opInfo) bool { return o.name == name })
	if i < 0 {
		return kv.Op{}, false
	}
	o := readObject(r.Reader, opInfos[i].known)
	o.require(r.Reader, opInfos[i].required...)
	return r.opOf(name, o), true
}

// opOf returns the operation of a kind with these members.
func (r *requestReader) opOf(name string, o object) kv.Op {
	key, value, prev := string(o.find("key").text), o.find("value").text, o.find("prev").flag
	ttl := time.Duration(o.find("ttl").number)
	lease := kv.LeaseID(o.find("lease").number)
	if o.has("lease") && lease == 0 {
		r.FailAt("lease", "is 0, which is no lease")
	}
	switch name {
	case "put":
		op := kv.Op{Kind: kv.OpPut, Key: key, Value: value, Flags: uint32(o.find("flags").number), TTL: ttl, Lease: lease, WantPrev: prev}
		contentType, err := storedType(string(o.find("content_type").text))
		if err != nil {
			r.FailAt("content_type", "%s", err.Error())
		}
		op.ContentType = contentType
		return op
	case "delete":
		return kv.Op{Kind: kv.OpDelete, Span: o.span(r.Reader), WantPrev: prev}
	case "add":
		return kv.Op{Kind: kv.OpAdd, Key: key, Delta: o.find("delta").number, TTL: ttl, WantPrev: prev}
	case "append":
		return kv.Op{Kind: kv.OpAppend, Key: key, Value: value, MaxBytes: r.appendBytes, TTL: ttl, WantPrev: prev}
	case "touch":
		return kv.Op{Kind: kv.OpTouch, Key: key, TTL: ttl, WantPrev: prev}
	case "persist":
		return kv.Op{Kind: kv.OpPersist, Key: key, WantPrev: prev}
	case revokeOp:
		return kv.Op{Kind: kv.OpRevoke, Lease: lease}
	}
	op := kv.Op{Kind: kv.OpRange, Span: o.span(r.Reader), Range: &kv.RangeOptions{
		Limit: int(o.find("limit").number), Revision: uint64(o.find("revision").number),
		Reverse: o.find("reverse").flag, KeysOnly: o.find("keys_only").flag, CountOnly: name == "count",
		MinModRevision:    uint64(o.find("min_mod_revision").number),
		MaxModRevision:    uint64(o.find("max_mod_revision").number),
		MinCreateRevision: uint64(o.find("min_create_revision").number),
		MaxCreateRevision: uint64(o.find("max_create_revision").number),
	}}
	if _, one := op.Span.Key(); one {
		op.Range.Limit = 0
		if name == "get" {
			op.Range.Limit = getLimit
		}
	}
	return op
}

// getLimit is the limit of a "get", by which it differs from a "range" of one key: that has
// no limit, which would change nothing.
const getLimit = 1

// opName returns the name of an operation's kind in JSON.
func opName(o *kv.Op) string {
	switch o.Kind {
	case kv.OpPut:
		return "put"
	case kv.OpDelete:
		return "delete"
	case kv.OpAdd:
		return "add"
	case kv.OpAppend:
		return "append"
	case kv.OpTouch:
		return "touch"
	case kv.OpPersist:
		return "persist"
	case kv.OpGrant:
		return grantOp
	case kv.OpRevoke:
		return revokeOp
	case kv.OpRequest:
		return nestedOp
	}
	_, one := o.Span.Key()
	switch {
	case o.Range.CountOnly:
		return "count"
	case one && o.Range.Limit == getLimit:
		return "get"
	}
	return "range"
}

// requestError returns the error of a request. If it is a *kv.ValidationError, its field
// becomes the place in the JSON of the request.
func requestError(err error, request *kv.Request) error {
	invalid := (*kv.ValidationError)(nil)
	if !errors.As(err, &invalid) {
		return err
	}
	named := *invalid
	named.Field = placeOf(request, invalid.Field)
	return &named
}

// placeOf returns the place in the JSON of a request of a field as kv.Request.Validate names
// it: "then[2].put.key" for "then[2].key".
func placeOf(request *kv.Request, field string) string {
	element, rest, _ := strings.Cut(field, ".")
	var list string
	var i int
	if _, err := fmt.Sscanf(strings.NewReplacer("[", " ", "]", "").Replace(element), "%s %d", &list, &i); err != nil {
		return field
	}
	ops := request.Then
	switch {
	case list == "else":
		ops = request.Else
	case list == "if" && i < len(request.If) && rest == "span":
		return element + "." + spanMember(request.If[i].Span)
	case list == "if" && i < len(request.If):
		return field
	}
	if i >= len(ops) {
		return field
	}
	place := element + "." + opName(&ops[i])
	nested, isNested := strings.CutPrefix(rest, "request")
	switch {
	case isNested && nested == "":
		return place
	case isNested:
		return place + "." + placeOf(ops[i].Nested, nested[1:])
	case rest == "span":
		return place + "." + spanMember(ops[i].Span)
	case rest == "":
		return place
	}
	return place + "." + rest
}

// trimFirst returns a place in a request without "then[0].".
func trimFirst(place string) string { return strings.TrimPrefix(place, "then[0].") }

// spanMember returns the member that gave the longer bound of a span.
func spanMember(span kv.Span) string {
	switch {
	case span == kv.Prefix(span.Start):
		return "prefix"
	case len(span.Start) >= len(span.End):
		return "start"
	}
	return "end"
}
