package client

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/kvorum/kvorum/internal/api"
)

// maxTxnAnswer is the maximum number of bytes that are read of the answer to a transaction.
// Base64 makes values a third longer, and text with control characters up to six times.
const maxTxnAnswer = 6 * api.MaxValueBytes

// AddResult is the outcome of an Add.
type AddResult struct {
	// Number is the sum.
	Number int64
	// Revision is the revision that the write got, and Deadline that of the key after it, as in
	// WriteResult.
	Revision uint64
	Deadline int64
}

// AddOptions are those of AddWith.
type AddOptions struct {
	// TTL is the time to live of the key if the call makes it, as in Attributes. A key that
	// exists keeps its deadline, or has none.
	TTL time.Duration
}

// Add adds delta to the value of key, a decimal number of 64 bits, if the condition holds;
// there is at most one. A key that does not exist counts as 0. The error has the code
// "not_a_number" or "overflow" if the value, or the sum, is no such number. An Add whose
// outcome is unknown must not be repeated without an idempotency key: it may have been done.
func (c *Client) Add(ctx context.Context, key string, delta int64, conditions ...Condition) (AddResult, error) {
	return c.AddWith(ctx, key, delta, AddOptions{}, conditions...)
}

// AddWith is Add with options.
func (c *Client) AddWith(ctx context.Context, key string, delta int64, o AddOptions, conditions ...Condition) (AddResult, error) {
	query := url.Values{"op": {"incr"}, "delta": {strconv.FormatInt(delta, 10)}}
	if o.TTL != 0 {
		if err := setTTL(query, o.TTL); err != nil {
			return AddResult{}, err
		}
	}
	a, err := c.change(ctx, key, request{method: http.MethodPost, query: query}, conditions)
	if err != nil {
		return AddResult{}, err
	}
	result := AddResult{Revision: revisionOf(a.header)}
	if result.Deadline, err = deadlineOf(&a); err != nil {
		return result, badAnswer(a.base, a.status, Done, "read the headers: %w", err)
	}
	err = a.decode("the sum", Done, &result.Number)
	return result, err
}

// Txn carries out a transaction, which is JSON as docs/http-api.md describes it, and returns
// the JSON of its results. A compare that does not hold is no error.
func (c *Client) Txn(ctx context.Context, transaction json.RawMessage) (json.RawMessage, error) {
	r := request{method: http.MethodPost, path: "/txn", body: transaction, json: true, write: true}
	if r.body == nil {
		r.body = []byte{}
	}
	a, err := c.call(ctx, c.timeout, r, maxTxnAnswer)
	if err != nil {
		return nil, err
	}
	var results json.RawMessage
	return results, a.decode("the results", Done, &results)
}
