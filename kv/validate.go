package kv

import (
	"cmp"
	"fmt"
)

// Validate returns a *ValidationError unless the request is valid. A valid request
//
//   - has a compare or an operation, and no more of them than the limits allow;
//   - has known kinds and relations, and only the fields of its kinds;
//   - has keys and values within the limits, where keys have at least one byte;
//   - writes no key twice, and no key that it deletes, where all operations of one key write
//     it, OpTouch and OpPersist too. Branches of a request exclude each other, and a delete
//     whose Span has no end is not looked at;
//   - has times to live within their limits;
//   - has no compare and no other operation beside one that makes or ends a lease;
//   - has an idempotency key only if it may change something, and within its limit.
//
// The Field of the error is the place: "then[2].key", "if[0].span",
// "else[1].request.then[0].value".
func (r *Request) Validate(limits Limits) error {
	v := validator{limits: limits}
	err := v.request(r, cmp.Or(limits.MaxRequestOps, MaxRequestOps))
	switch {
	case v.parts == 0:
		err = invalidf("", "has neither a compare nor an operation")
	case err == nil && (v.nested || len(r.Then) > 1 || len(r.Else) > 1):
		err = r.checkChanges()
	}
	if err == nil {
		err = r.checkAlone()
	}
	if err == nil {
		err = r.checkIdempotencyKey()
	}
	if err == nil {
		return nil
	}
	err.Field = cmp.Or(err.Field, "request")
	return err
}

// checkIdempotencyKey refuses a key that is too long, and one of a request that only reads:
// reads need none.
func (r *Request) checkIdempotencyKey() *ValidationError {
	switch n := len(r.IdempotencyKey); {
	case n == 0:
		return nil
	case n > MaxIdempotencyKeyBytes:
		return &ValidationError{Field: "idempotency_key", Reason: fmt.Sprintf("has %d bytes, the limit is %d", n, MaxIdempotencyKeyBytes)}
	case r.ReadOnly():
		return invalidf("idempotency_key", "is not for a request that only reads")
	}
	return nil
}

// validator checks a request part by part. The Fields of its errors are relative to the
// part, and "" means the part itself.
type validator struct {
	limits Limits
	parts  int  // compares and operations so far
	values int  // bytes of the values so far
	nested bool // there is a nested request
}

// request checks a request, which may have ops compares, and as many operations in each
// branch.
func (v *validator) request(r *Request, ops int) *ValidationError {
	most := max(len(r.If), len(r.Then), len(r.Else))
	if most > ops {
		return invalidf("", "has %d compares, %d operations in then and %d in else, the limit is %d of each, less those of outer requests",
			len(r.If), len(r.Then), len(r.Else), ops)
	}
	if v.parts += len(r.If) + len(r.Then) + len(r.Else); v.parts > MaxRequestParts {
		return invalidf("", "has at least %d compares and operations with those of nested requests, the limit is %d", v.parts, MaxRequestParts)
	}
	for i := range r.If {
		if err := v.compare(&r.If[i]); err != nil {
			return err.in("if", i)
		}
	}
	for i := range r.Then {
		if err := v.op(&r.Then[i], ops-most); err != nil {
			return err.in("then", i)
		}
	}
	for i := range r.Else {
		if err := v.op(&r.Else[i], ops-most); err != nil {
			return err.in("else", i)
		}
	}
	return nil
}

func (v *validator) compare(c *Compare) *ValidationError {
	switch {
	case c.Target < TargetValue || c.Target > TargetLease:
		return invalidf("target", "is of unknown kind %d", c.Target)
	case c.Relation < Equal || c.Relation > Less:
		return invalidf("relation", "is of unknown kind %d", c.Relation)
	case c.Target == TargetValue && c.Number != 0:
		return invalidf("number", "is not for a compare of values")
	case c.Target != TargetValue && c.Value != nil:
		return invalidf("value", "is not for a compare of numbers")
	}
	if err := v.value(c.Value); err != nil {
		return err
	}
	return v.span(c.Span)
}

// op checks an operation; a nested request may have ops more of them.
func (v *validator) op(o *Op, ops int) *ValidationError {
	if o.Kind < OpPut || o.Kind > OpRevoke {
		return invalidf("kind", "is unknown: %d", o.Kind)
	}
	set := o.fields()
	for i, name := range fieldNames {
		if set&^fieldsOf[o.Kind]&(1<<i) != 0 {
			return invalidf(name, "is not for an operation of kind %d", o.Kind)
		}
	}
	switch o.Kind {
	case OpRequest:
		return v.nestedRequest(o.Nested, ops)
	case OpDelete:
		return v.span(o.Span)
	case OpRange:
		if o.Range != nil && o.Range.Limit < 0 {
			return invalidf("limit", "is %d", o.Range.Limit)
		}
		return v.span(o.Span)
	case OpGrant, OpRevoke:
		return checkLease(o)
	}
	if err := v.key("key", o.Key); err != nil {
		return err
	}
	if len(o.ContentType) > MaxContentTypeBytes {
		return tooLarge("content_type", len(o.ContentType), MaxContentTypeBytes)
	}
	if o.Kind == OpAppend && (o.MaxBytes < 1 || o.MaxBytes > LimitMaxValueBytes) {
		return invalidf("max_bytes", "is %d, the limits are 1 and %d", o.MaxBytes, LimitMaxValueBytes)
	}
	if err := checkTTL(o); err != nil {
		return err
	}
	return v.value(o.Value)
}

// checkTTL checks the time to live of an operation on one key.
func checkTTL(o *Op) *ValidationError {
	switch {
	case o.TTL == 0 && o.Kind == OpTouch:
		return invalidf("ttl", "is missing")
	case o.TTL == 0:
	case o.TTL < MinTTL || o.TTL > MaxTTL:
		return invalidf("ttl", "is %v, the limits are %v and %v", o.TTL, MinTTL, MaxTTL)
	case o.TTL%MinTTL != 0:
		return invalidf("ttl", "is %v, which is no multiple of %v", o.TTL, MinTTL)
	}
	return nil
}

func (v *validator) nestedRequest(r *Request, ops int) *ValidationError {
	if r == nil {
		return invalidf("request", "is missing")
	}
	if r.IdempotencyKey != "" {
		return invalidf("request.idempotency_key", "is not for a nested request")
	}
	v.nested = true
	if err := v.request(r, ops); err != nil {
		return err.under("request")
	}
	return nil
}

// span checks the bounds of a Span. A span's end may be a byte longer than a key: One makes
// such an end.
func (v *validator) span(s Span) *ValidationError {
	if key, one := s.Key(); one {
		return v.key("key", key)
	}
	if n := max(len(s.Start), len(s.End)-1); n > v.limits.MaxKeyBytes {
		return tooLarge("span", n, v.limits.MaxKeyBytes)
	}
	return nil
}

func (v *validator) key(field, key string) *ValidationError {
	switch {
	case key == "":
		return invalidf(field, "is empty")
	case len(key) > v.limits.MaxKeyBytes:
		return tooLarge(field, len(key), v.limits.MaxKeyBytes)
	}
	return nil
}

// value checks the length of a value, and of all values up to it: a request is a part of
// one message and of one log entry.
func (v *validator) value(value []byte) *ValidationError {
	limit := v.limits.MaxValueBytes
	if len(value) > limit {
		return tooLarge("value", len(value), limit)
	}
	if v.values += len(value); v.values > limit {
		err := tooLarge("value", v.values, limit)
		err.Reason = fmt.Sprintf("and the request's earlier values have %d bytes together, the limit is %d", v.values, limit)
		return err
	}
	return nil
}

// in makes the error one of a part of a request.
func (e *ValidationError) in(list string, i int) *ValidationError {
	return e.under(fmt.Sprintf("%s[%d]", list, i))
}

// under makes the error one of a part of place.
func (e *ValidationError) under(place string) *ValidationError {
	if e.Field != "" {
		place += "." + e.Field
	}
	e.Field = place
	return e
}

func invalidf(field, format string, a ...any) *ValidationError {
	return &ValidationError{Field: field, Reason: fmt.Sprintf(format, a...)}
}

func tooLarge(field string, size, limit int) *ValidationError {
	return &ValidationError{
		Field: field, Size: int64(size), Limit: int64(limit),
		Reason: fmt.Sprintf("has %d bytes, the limit is %d", size, limit),
	}
}
