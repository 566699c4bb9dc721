package api

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"unicode/utf8"

	"github.com/kvorum/kvorum/kv"
)

// EncodeRequest returns a request as the JSON of POST /txn, on one line. A key or value takes
// at most a third more bytes there, as in base64, by which the node reckons the limit of the
// body. Op.MaxBytes is left out: the limit of the node applies. It returns an error for an
// operation or a compare of an unknown kind, and for an idempotency key that is not UTF-8.
func EncodeRequest(r *kv.Request) ([]byte, error) {
	object, err := requestObject(r)
	if err != nil {
		return nil, err
	}
	switch {
	case !utf8.ValidString(r.IdempotencyKey):
		return nil, fmt.Errorf("idempotency key %.64q is not UTF-8", r.IdempotencyKey)
	case r.IdempotencyKey != "":
		object["idempotency_key"] = r.IdempotencyKey
	}
	var line bytes.Buffer
	encoder := json.NewEncoder(&line)
	encoder.SetEscapeHTML(false) // < would take six bytes
	err = encoder.Encode(object)
	return bytes.TrimSuffix(line.Bytes(), []byte("\n")), err
}

// requestObject returns the JSON object of a request.
func requestObject(r *kv.Request) (map[string]any, error) {
	object := make(map[string]any, 3)
	var compares []any
	for i := range r.If {
		c, err := compareObject(&r.If[i])
		if err != nil {
			return nil, fmt.Errorf("if[%d]: %w", i, err)
		}
		compares = append(compares, c)
	}
	if len(compares) > 0 {
		object["if"] = compares
	}
	for name, ops := range map[string][]kv.Op{"then": r.Then, "else": r.Else} {
		var list []any
		for i := range ops {
			o, err := opObject(&ops[i])
			if err != nil {
				return nil, fmt.Errorf("%s[%d]: %w", name, i, err)
			}
			list = append(list, o)
		}
		if len(list) > 0 {
			object[name] = list
		}
	}
	return object, nil
}

// relationNames and targetNames are the names of relations and targets in JSON.
var (
	relationNames = map[kv.Relation]string{kv.Equal: "=", kv.NotEqual: "!=", kv.Greater: ">", kv.Less: "<"}
	targetNames   = map[kv.Target]string{
		kv.TargetValue: "value", kv.TargetVersion: "version", kv.TargetCreateRevision: "create_revision",
		kv.TargetModRevision: "mod_revision", kv.TargetLease: "lease",
	}
)

// compareObject returns the JSON object of a compare.
func compareObject(c *kv.Compare) (map[string]any, error) {
	target, relation := targetNames[c.Target], relationNames[c.Relation]
	if target == "" || relation == "" {
		return nil, fmt.Errorf("target %d or relation %d is unknown", c.Target, c.Relation)
	}
	object := map[string]any{"is": relation}
	setSpan(object, c.Span)
	switch c.Target {
	case kv.TargetValue:
		setText(object, "value", string(c.Value))
	case kv.TargetLease:
		object[target] = LeaseID(c.Number)
	default:
		object[target] = c.Number
	}
	return object, nil
}

// opObject returns the JSON object of an operation: one member, which is its kind.
func opObject(o *kv.Op) (map[string]any, error) {
	object := make(map[string]any)
	name := ""
	switch o.Kind {
	case kv.OpPut:
		name = "put"
		setText(object, "value", string(o.Value))
		setLease(object, o.Lease)
		setNumber(object, "flags", uint64(o.Flags))
		if o.ContentType != "" {
			object["content_type"] = o.ContentType
		}
	case kv.OpAdd:
		name = "add"
		object["delta"] = o.Delta
	case kv.OpAppend:
		name = "append"
		setText(object, "value", string(o.Value))
	case kv.OpTouch:
		name = "touch"
	case kv.OpPersist:
		name = "persist"
	case kv.OpDelete:
		name = "delete"
		setSpan(object, o.Span)
	case kv.OpRange:
		name = rangeObject(object, o)
	case kv.OpRequest:
		nested, err := requestObject(o.Nested)
		return map[string]any{"txn": nested}, err
	case kv.OpGrant, kv.OpRevoke:
		return leaseOpObject(o)
	default:
		return nil, fmt.Errorf("kind %d is unknown", o.Kind)
	}
	if o.Kind != kv.OpDelete && o.Kind != kv.OpRange {
		setText(object, "key", o.Key)
	}
	if o.TTL != 0 {
		if err := CheckTTL(o.TTL); err != nil {
			return nil, fmt.Errorf("the time to live %w", err)
		}
		object["ttl"] = o.TTL.String()
	}
	if o.WantPrev {
		object["prev"] = true
	}
	return map[string]any{name: object}, nil
}

// leaseOpObject returns the JSON object of an operation that makes or ends a lease.
func leaseOpObject(o *kv.Op) (map[string]any, error) {
	object := make(map[string]any)
	setLease(object, o.Lease)
	if o.Kind == kv.OpRevoke {
		return map[string]any{"revoke": object}, nil
	}
	if err := CheckLeaseTTL(o.TTL); err != nil {
		return nil, fmt.Errorf("the time to live %w", err)
	}
	object["ttl"] = o.TTL.String()
	return map[string]any{"grant": object}, nil
}

// rangeObject sets the members of a read, and returns the name of its kind.
func rangeObject(object map[string]any, o *kv.Op) string {
	setSpan(object, o.Span)
	r := kv.RangeOptions{}
	if o.Range != nil {
		r = *o.Range
	}
	setNumber(object, "revision", r.Revision)
	if r.CountOnly {
		return "count"
	}
	setNumber(object, "limit", uint64(max(r.Limit, 0)))
	setNumber(object, "min_mod_revision", r.MinModRevision)
	setNumber(object, "max_mod_revision", r.MaxModRevision)
	setNumber(object, "min_create_revision", r.MinCreateRevision)
	setNumber(object, "max_create_revision", r.MaxCreateRevision)
	if r.Reverse {
		object["reverse"] = true
	}
	if r.KeysOnly {
		object["keys_only"] = true
	}
	return "range"
}

// setSpan sets the members that name a span.
func setSpan(object map[string]any, span kv.Span) {
	if key, one := span.Key(); one {
		setText(object, "key", key)
		return
	}
	setText(object, "start", span.Start)
	if span.End != "" {
		setText(object, "end", span.End)
	}
}

// setText sets a member to a text, or to base64 if it is not UTF-8, or shorter that way.
func setText(object map[string]any, name, text string) {
	if utf8.ValidString(text) && escapedLen(text) <= base64.StdEncoding.EncodedLen(len(text)) {
		object[name] = text
	} else {
		object[name+"_b64"] = []byte(text)
	}
}

// escapedLen returns the number of bytes that a text takes in a JSON string.
func escapedLen(text string) int {
	n := len(text)
	for _, c := range text {
		switch {
		case c == '"' || c == '\\' || ('\b' <= c && c <= '\r' && c != '\v'):
			n++ // \" or \n
		case c < ' ':
			n += len(`\u0000`) - 1
		case c == '\u2028' || c == '\u2029':
			n += len(`\u2028`) - len("\u2028")
		}
	}
	return n
}

// setLease sets the member with a lease, unless it is 0.
func setLease(object map[string]any, id kv.LeaseID) {
	if id != 0 {
		object["lease"] = LeaseID(id)
	}
}

// setNumber sets a member to a number, unless it is 0.
func setNumber(object map[string]any, name string, n uint64) {
	if n != 0 {
		object[name] = n
	}
}

// responseJSON is the JSON of a response.
type responseJSON struct {
	Succeeded bool         `json:"succeeded"`
	Revision  uint64       `json:"revision"`
	Replayed  bool         `json:"replayed"`
	Results   []resultJSON `json:"results"`
}

// resultJSON is the JSON of a result, with the members of all kinds.
type resultJSON struct {
	responseJSON
	Existed     bool            `json:"existed"`
	ModRevision uint64          `json:"mod_revision"`
	Prev        json.RawMessage `json:"prev"` // an item, or items of a delete
	Number      int64           `json:"number"`
	Length      int64           `json:"length"`
	ExpiresAt   string          `json:"expires_at"`
	Deleted     int             `json:"deleted"`
	Lease       LeaseID         `json:"lease"`
	TTL         string          `json:"ttl"`
	Items       []ListLine      `json:"items"`
	Count       int             `json:"count"`
	More        bool            `json:"more"`
}

// DecodeResponse reads the JSON of the response to a request. Results has one element for each
// operation of the branch that was done.
func DecodeResponse(data []byte, r *kv.Request) (kv.Response, error) {
	var j responseJSON
	if err := json.Unmarshal(data, &j); err != nil {
		return kv.Response{}, err
	}
	return j.response(r)
}

func (j *responseJSON) response(r *kv.Request) (kv.Response, error) {
	response := kv.Response{Succeeded: j.Succeeded, Revision: j.Revision, Replayed: j.Replayed}
	ops := r.Then
	if !j.Succeeded {
		ops = r.Else
	}
	if len(ops) != len(j.Results) {
		return response, fmt.Errorf("it has %d results of %d operations", len(j.Results), len(ops))
	}
	for i := range ops {
		result, err := j.Results[i].result(&ops[i])
		if err != nil {
			return response, fmt.Errorf("results[%d]: %w", i, err)
		}
		response.Results = append(response.Results, result)
	}
	return response, nil
}

// result returns the result of an operation.
func (j *resultJSON) result(o *kv.Op) (kv.Result, error) {
	switch o.Kind {
	case kv.OpRequest:
		nested, err := j.response(o.Nested)
		return kv.Result{Nested: &nested}, err
	case kv.OpRange:
		items, err := itemsOf(j.Items, o.Range != nil && o.Range.KeysOnly)
		return kv.Result{Items: items, Count: j.Count, More: j.More}, err
	case kv.OpGrant:
		made := Lease{ID: j.Lease, TTL: j.TTL}
		lease, err := made.Lease()
		return kv.Result{Lease: lease.ID, TTL: lease.TTL}, err
	case kv.OpRevoke:
		return kv.Result{Deleted: j.Deleted}, nil
	case kv.OpDelete:
		result := kv.Result{Deleted: j.Deleted}
		if _, one := o.Span.Key(); one {
			result.Existed = j.Deleted == 1
		}
		var lines []ListLine
		if j.Prev != nil {
			if err := json.Unmarshal(j.Prev, &lines); err != nil {
				return result, err
			}
		}
		items, err := itemsOf(lines, false)
		result.Items = items
		return result, err
	}
	result := kv.Result{Existed: j.Existed, ModRevision: j.ModRevision, Number: j.Number}
	if o.Kind == kv.OpAppend {
		result.Number = j.Length
	}
	var err error
	if result.Deadline, err = ParseDeadline(j.ExpiresAt); err != nil {
		return result, err
	}
	var prev *ListLine
	if j.Prev != nil {
		if err := json.Unmarshal(j.Prev, &prev); err != nil {
			return result, err
		}
	}
	if prev == nil {
		return result, nil
	}
	item, err := prev.listed(false)
	result.Prev = &item
	return result, err
}

// itemsOf returns the items of lines, without values if keysOnly is set.
func itemsOf(lines []ListLine, keysOnly bool) ([]kv.Item, error) {
	var items []kv.Item
	for i := range lines {
		item, err := lines[i].listed(keysOnly)
		if err != nil {
			return items, fmt.Errorf("items[%d]: %w", i, err)
		}
		items = append(items, item)
	}
	return items, nil
}
