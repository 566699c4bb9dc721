package client

import (
	"context"
	"net/http"
	"strconv"
	"strings"

	"github.com/kvorum/kvorum/internal/api"
)

// ReadResult is the outcome of a Get.
type ReadResult struct {
	Value []byte // the caller's
	// ModRevision is the revision of the key's last change, for IfRevision.
	ModRevision uint64
	// Revision is the revision that the read saw, or a lower one: the MinRevision of later
	// reads that must not see an older state.
	Revision uint64
}

// WriteResult is the outcome of a Put or Delete.
type WriteResult struct {
	// Revision is the revision that the write got: the key's ModRevision after a put, and
	// the MinRevision of reads that must see the write.
	Revision uint64
	// Created means that a put made the key, and did not replace a value.
	Created bool
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
	return ReadResult{Value: a.body, ModRevision: modRevisionOf(a.header), Revision: revisionOf(a.header)}, nil
}

// Put stores value under key, if the condition holds; there is at most one. Value is
// not changed, and not used after Put has returned.
func (c *Client) Put(ctx context.Context, key string, value []byte, conditions ...Condition) (WriteResult, error) {
	if value == nil {
		value = []byte{}
	}
	return c.write(ctx, http.MethodPut, key, value, conditions)
}

// Delete removes key, if the condition holds; there is at most one. If there is no such
// key, the error matches ErrNotFound, or ErrConditionFailed if there is a condition.
func (c *Client) Delete(ctx context.Context, key string, conditions ...Condition) (WriteResult, error) {
	return c.write(ctx, http.MethodDelete, key, nil, conditions)
}

// write sends a change of one key.
func (c *Client) write(ctx context.Context, method, key string, value []byte, conditions []Condition) (WriteResult, error) {
	path, err := keyPath(key)
	if err != nil {
		return WriteResult{}, err
	}
	if len(conditions) > 1 {
		return WriteResult{}, usagef("a write takes one condition at most, not %d", len(conditions))
	}
	r := request{method: method, path: path, body: value, write: true}
	for _, cond := range conditions {
		if cond != (Condition{}) {
			r.header = map[string]string{cond.header: cond.value}
		}
	}
	a, err := c.call(ctx, c.timeout, r, maxAnswerBytes)
	if err != nil {
		return WriteResult{}, err
	}
	return WriteResult{Revision: revisionOf(a.header), Created: a.status == http.StatusCreated}, nil
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
