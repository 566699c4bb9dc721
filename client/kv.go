package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/kvorum/kvorum/internal/api"
	"github.com/kvorum/kvorum/kv"
)

// ReadResult is the outcome of a Get.
type ReadResult struct {
	Value []byte // the caller's
	// ModRevision is the revision of the key's last change, for IfRevision.
	ModRevision uint64
	// Revision is the revision that the read saw, or a lower one: the MinRevision of later
	// reads that must not see an older state.
	Revision uint64
	// CreateRevision is the revision of the write that made the key, and Version the number
	// of its changes since then.
	CreateRevision, Version uint64
	// Flags and ContentType are those that the key was put with; ContentType is never "".
	Flags       uint32
	ContentType string
	// Deadline is the time at which the key expires, in milliseconds of the cluster clock since
	// the Unix epoch, 0 for never.
	Deadline int64
	// TTL is what is left until then, as far as the node knows the cluster clock; 0 if there
	// is no deadline, or if ReadOptions.Revision named the state.
	TTL time.Duration
	// Lease is the lease that the key is attached to, 0 for none.
	Lease kv.LeaseID
}

// WriteResult is the outcome of a Put, Delete, Touch or Persist.
type WriteResult struct {
	// Revision is the revision that the write got: the key's ModRevision after a put, and
	// the MinRevision of reads that must see the write.
	Revision uint64
	// Created means that a put made the key, and did not replace a value.
	Created bool
	// Deadline is that of the key after the write, as in ReadResult.
	Deadline int64
	// Replayed means that an earlier call with the same idempotency key did the write, and that
	// this is its result.
	Replayed bool
}

// Condition guards a write: if it does not hold, nothing changes, and the error matches
// ErrConditionFailed. The zero value always holds.
type Condition struct{ header, value string }

// IfAbsent returns the condition that the key does not exist.
func IfAbsent() Condition { return Condition{"If-None-Match", "*"} }

// IfPresent returns the condition that the key exists.
func IfPresent() Condition { return Condition{"If-Match", "*"} }

// IfRevision returns the condition that the key exists, and that its last change has
// revision, which is at least 1.
func IfRevision(revision uint64) Condition {
	return Condition{"If-Match", `"` + strconv.FormatUint(revision, 10) + `"`}
}

// Get returns the value of key. If there is no such key, the error matches ErrNotFound.
func (c *Client) Get(ctx context.Context, key string, o ReadOptions) (ReadResult, error) {
	query, err := o.query()
	if err != nil {
		return ReadResult{}, err
	}
	path, err := keyPath(key)
	if err != nil {
		return ReadResult{}, err
	}
	a, err := c.call(ctx, c.timeout, request{method: http.MethodGet, path: path + "?" + query.Encode()}, api.MaxValueBytes)
	if err != nil {
		return ReadResult{}, err
	}
	deadline, err := deadlineOf(&a)
	if err != nil {
		return ReadResult{}, badAnswer(a.base, a.status, NotDone, "read the headers: %w", err)
	}
	var lease kv.LeaseID
	if text := a.header.Get("Kvorum-Lease"); text != "" {
		if lease, err = api.ParseLease(text); err != nil {
			return ReadResult{}, badAnswer(a.base, a.status, NotDone, "read the headers: lease %.40q %w", text, err)
		}
	}
	return ReadResult{
		Value: a.body, ModRevision: modRevisionOf(a.header), Revision: revisionOf(a.header),
		CreateRevision: numberOf(a.header, "Kvorum-Create-Revision"), Version: numberOf(a.header, "Kvorum-Version"),
		Flags: uint32(numberOf(a.header, "Kvorum-Flags")), ContentType: a.header.Get("Content-Type"),
		Deadline: deadline, Lease: lease, TTL: time.Duration(numberOf(a.header, "Kvorum-Expires-In-Ms")) * time.Millisecond,
	}, nil
}

// Put stores value under key, if the condition holds; there is at most one. Value is
// not changed, and not used after Put has returned.
func (c *Client) Put(ctx context.Context, key string, value []byte, conditions ...Condition) (WriteResult, error) {
	return c.PutWith(ctx, key, value, Attributes{}, conditions...)
}

// Attributes are stored with a value. Reads answer with them, and with a deadline in place of
// the time to live.
type Attributes struct {
	// ContentType is the media type of the value; "" is that of any bytes. It consists of
	// printable characters of ASCII, without spaces around them. The type of HTML forms,
	// application/x-www-form-urlencoded, is no type of a value. Other types get ErrUsage.
	ContentType string
	// Flags is a number that Kvorum does not interpret.
	Flags uint32
	// TTL is the time to live: the key expires when that has passed by the cluster clock, unless
	// a later write prevents it. It is whole milliseconds from kv.MinTTL to kv.MaxTTL, 0 for no
	// end. Other times get ErrUsage.
	TTL time.Duration
	// Lease is the lease to which the key is attached: the key is deleted when that ends. 0 is
	// none. If there is no such lease, the error matches kv.ErrLeaseNotFound.
	Lease kv.LeaseID
}

// PutWith is Put with attributes. A Put without them removes those that the key has, its deadline
// and its lease.
func (c *Client) PutWith(ctx context.Context, key string, value []byte, a Attributes, conditions ...Condition) (WriteResult, error) {
	if value == nil {
		value = []byte{}
	}
	r := request{method: http.MethodPut, body: value}
	if err := a.addTo(&r); err != nil {
		return WriteResult{}, err
	}
	return c.write(ctx, key, r, conditions)
}

// Touch gives key a new time to live, which replaces the one that it has, if the condition holds;
// there is at most one. The value remains as it is, and the key gets a new ModRevision. ttl is as
// in Attributes, but not 0. If there is no such key, the error matches ErrNotFound, or
// ErrConditionFailed if there is a condition.
func (c *Client) Touch(ctx context.Context, key string, ttl time.Duration, conditions ...Condition) (WriteResult, error) {
	query := url.Values{"op": {"touch"}}
	if err := setTTL(query, ttl); err != nil {
		return WriteResult{}, err
	}
	return c.write(ctx, key, request{method: http.MethodPost, query: query}, conditions)
}

// Persist removes the deadline of key, if the condition holds; there is at most one. A key that
// has none is not changed. The errors are those of Touch.
func (c *Client) Persist(ctx context.Context, key string, conditions ...Condition) (WriteResult, error) {
	return c.write(ctx, key, request{method: http.MethodPost, query: url.Values{"op": {"persist"}}}, conditions)
}

// Delete removes key, if the condition holds; there is at most one. If there is no such
// key, the error matches ErrNotFound, or ErrConditionFailed if there is a condition.
func (c *Client) Delete(ctx context.Context, key string, conditions ...Condition) (WriteResult, error) {
	return c.write(ctx, key, request{method: http.MethodDelete}, conditions)
}

// write sends a change of one key.
func (c *Client) write(ctx context.Context, key string, r request, conditions []Condition) (WriteResult, error) {
	a, err := c.change(ctx, key, r, conditions)
	if err != nil {
		return WriteResult{}, err
	}
	result := WriteResult{
		Revision: revisionOf(a.header), Created: a.status == http.StatusCreated, Replayed: a.header.Get("Kvorum-Replayed") != "",
	}
	if result.Deadline, err = deadlineOf(&a); err != nil {
		return result, badAnswer(a.base, a.status, Done, "read the headers: %w", err)
	}
	return result, nil
}

// change sends a request that changes a key, if its conditions hold, of which there is at most
// one, and returns the answer.
func (c *Client) change(ctx context.Context, key string, r request, conditions []Condition) (answer, error) {
	path, err := keyPath(key)
	if err != nil {
		return answer{}, err
	}
	if len(conditions) > 1 {
		return answer{}, usagef("a write takes one condition at most, not %d", len(conditions))
	}
	for _, cond := range conditions {
		if cond != (Condition{}) {
			r.setHeader(cond.header, cond.value)
		}
	}
	if r.path = path; len(r.query) > 0 {
		r.path += "?" + r.query.Encode()
	}
	r.write = true
	return c.call(ctx, c.timeout, r, maxAnswerBytes)
}

// addTo adds the attributes to a put.
func (a Attributes) addTo(r *request) error {
	if err := api.CheckContentType(a.ContentType); err != nil {
		return usagef("the content type %q %w", a.ContentType, err)
	}
	if a.ContentType != "" {
		r.setHeader("Content-Type", a.ContentType)
	}
	if a.Flags != 0 {
		r.setHeader("Kvorum-Flags", strconv.FormatUint(uint64(a.Flags), 10))
	}
	r.query = make(url.Values)
	setIf(r.query, "lease", api.FormatLease(a.Lease))
	if a.TTL == 0 {
		return nil
	}
	return setTTL(r.query, a.TTL)
}

// setTTL sets the parameter with a time to live, which must not be 0.
func setTTL(query url.Values, ttl time.Duration) error {
	if err := api.CheckTTL(ttl); err != nil {
		return usagef("the time to live %w", err)
	}
	query.Set("ttl", ttl.String())
	return nil
}

// deadlineOf returns the deadline in an answer, 0 for none.
func deadlineOf(a *answer) (int64, error) {
	return api.ParseDeadline(a.header.Get("Kvorum-Expires-At"))
}

// keyPath returns the path of a key. Bytes other than letters, digits, '-',
// '_', '~', '/' and '.' are escaped, and so is a '.' that begins a segment: "." and ".."
// may be parts of a key, and no proxy may resolve them as a relative path.
func keyPath(key string) (string, error) {
	if key == "" {
		return "", usagef("the key is empty") // its path would be that of a list
	}
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	b.WriteString("/kv/")
	for i := range len(key) {
		ch := key[i]
		switch {
		case 'a' <= ch && ch <= 'z', 'A' <= ch && ch <= 'Z', '0' <= ch && ch <= '9',
			ch == '-', ch == '_', ch == '~', ch == '/',
			ch == '.' && i > 0 && key[i-1] != '/':
			b.WriteByte(ch)
		default:
			b.WriteString(string([]byte{'%', hex[ch>>4], hex[ch&15]}))
		}
	}
	return b.String(), nil
}
