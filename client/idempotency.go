package client

import (
	"context"
	"errors"
	"maps"
	"strings"
	"time"

	"github.com/kvorum/kvorum/internal/api"
	"github.com/kvorum/kvorum/kv"
)

// idempotencyContext is the key of an idempotency key in a context.
type idempotencyContext struct{}

// WithIdempotencyKey returns a context in which one change has an idempotency key: a Put,
// PutWith, Delete, Add, Txn, Do, Grant or Revoke. Such a call is safe to repeat. If its outcome is unknown, the
// client itself sends it again, to each endpoint in turn, until the call's time ends, for at most
// 5 minutes. The cluster carries it out once, and answers each repetition with the first result;
// see kv.Request. A caller may repeat the call later too, with the same key and arguments, while
// the cluster keeps the answer: 10 minutes, unless the cluster has another setting. If that is
// below 5 minutes, Config.Timeout must be below the setting: a repetition behind it would be carried
// out as a new call. Another call needs a key of its own, such
// as a random UUID: with a key that was used, it is refused as "idempotency_key_reused".
//
// The key has 1 to 256 bytes, all of them printable characters of ASCII, and begins and ends with no
// space. Other keys get ErrUsage. A Do whose request has an IdempotencyKey ignores that of the
// context, and so does a Batch, in which each request may have one; a batch is not repeated.
func WithIdempotencyKey(ctx context.Context, key string) context.Context {
	return context.WithValue(ctx, idempotencyContext{}, key)
}

// setKey gives a change the idempotency key of the context, if there is one.
func (r *request) setKey(ctx context.Context) error {
	key, given := ctx.Value(idempotencyContext{}).(string)
	if !given || r.repeatable || !r.write || !takesKey(r.path) {
		return nil
	}
	if len(key) < 1 || len(key) > kv.MaxIdempotencyKeyBytes {
		return usagef("the idempotency key has %d bytes, the limits are 1 and %d", len(key), kv.MaxIdempotencyKeyBytes)
	}
	unprintable := strings.ContainsFunc(key, func(c rune) bool { return c < ' ' || c > '~' })
	if unprintable || strings.TrimSpace(key) != key {
		return usagef("the idempotency key %.64q has characters that a header can't have", key)
	}
	header := map[string]string{"Idempotency-Key": key}
	maps.Copy(header, r.header)
	r.header, r.repeatable = header, true
	return nil
}

// takesKey reports whether a change at a path takes an idempotency key.
func takesKey(path string) bool {
	return path == "/txn" || path == leasesPath || strings.HasPrefix(path, "/kv/") || strings.HasPrefix(path, leasesPath+"/")
}

const (
	// repeatShare is the part of a call's time that one attempt of a repeatable call may take.
	repeatShare = 3
	// repeatPause is the pause of a repeatable call after it was sent to all endpoints.
	repeatPause = 100 * time.Millisecond
	// maxRepeat is how long a repeatable call is sent again at most: the answer to it is kept for
	// twice as long, unless the cluster has another setting.
	maxRepeat = kv.DefaultIdempotencyWindow / 2
)

// callAgain is call for a write with an idempotency key. Once the outcome of an attempt is
// unknown, it tries again until an answer tells it, or ctx ends.
func (c *Client) callAgain(ctx context.Context, d time.Duration, r request, limit int64) (answer, error) {
	var failures []error
	var unknown error // that of the first attempt with an unknown outcome
	first := c.first.Load()
	for n := first; ; n++ {
		a, err := c.attempt(ctx, d/repeatShare, r, n, limit)
		if err == nil {
			c.first.CompareAndSwap(first, n)
			return a, nil
		}
		e := new(Error)
		if !errors.As(err, &e) {
			return answer{}, err
		}
		if e.Outcome == Unknown && unknown == nil {
			unknown = err
		}
		if e.Outcome != Unknown && !e.Retryable {
			if unknown != nil && !e.ofRequest() {
				return answer{}, unknown
			}
			return answer{}, err
		}
		failures = append(failures, err)
		switch round := len(failures)%len(c.endpoints) == 0; {
		case unknown == nil && (round || ctx.Err() != nil):
			return answer{}, lastOf(failures)
		case round:
			select {
			case <-time.After(repeatPause):
			case <-ctx.Done():
			}
		}
		if ctx.Err() != nil {
			return answer{}, unknown
		}
	}
}

// lastOf returns the error of a call that has failed at all endpoints.
func lastOf(failures []error) error {
	if len(failures) == 1 {
		return failures[0]
	}
	return &allFailed{failures}
}

// ofRequest reports whether e is the cluster's answer to the request, which an earlier attempt
// would have had too: not a refusal of the node that was asked.
func (e *Error) ofRequest() bool {
	switch e.Code {
	case api.CodeKeyNotFound, api.CodeConditionFailed, kv.ErrIdempotencyReused.Code, kv.ErrCompacted.Code, kv.ErrFuture.Code,
		kv.ErrNotNumber.Code, kv.ErrOverflow.Code, kv.ErrValueLimit.Code, kv.ErrAnswerLimit.Code, kv.ErrKeyLimit.Code,
		kv.ErrLeaseNotFound.Code, kv.ErrLeaseExists.Code:
		return true
	}
	return false
}

// attempt sends r to the nth endpoint and reads the answer, within d.
func (c *Client) attempt(ctx context.Context, d time.Duration, r request, n uint64, limit int64) (answer, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, d, &timeoutError{d})
	defer cancel()
	resp, err := c.try(ctx, r, n)
	if err != nil {
		return answer{}, err
	}
	return c.read(ctx, resp, n, r.write, limit)
}
