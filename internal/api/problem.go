package api

import "github.com/kvorum/kvorum/kv"

// Codes that only HTTP has, for outcomes that are results of kv.Engine but errors of HTTP.
// Other codes are those of the classes of package kv.
const (
	CodeKeyNotFound     kv.Code = "key_not_found"
	CodeConditionFailed kv.Code = "condition_failed"
)

// Problem is the body of an error answer, application/problem+json (RFC 9457). Field and the
// members after it are left out where they are not known.
type Problem struct {
	Type      string     `json:"type"`
	Title     string     `json:"title"`
	Status    int        `json:"status"`
	Detail    string     `json:"detail"`
	Code      kv.Code    `json:"code"`
	Retryable bool       `json:"retryable"` // the same request may succeed if it is sent again
	Outcome   kv.Outcome `json:"outcome"`
	// Field is the part of the request that is bad: a parameter, a header, or a place in the
	// body, such as "then[2].put.key".
	Field string `json:"field,omitempty"`
	// Size and Limit are in bytes, if the error is about a size.
	Size  int64 `json:"size,omitempty"`
	Limit int64 `json:"limit,omitempty"`
	// CompactRevision is the oldest revision that can be read, if an older one was asked for.
	CompactRevision uint64 `json:"compact_revision,omitempty"`
	// Replayed says that an earlier request with the same idempotency key was refused so.
	Replayed bool `json:"replayed,omitempty"`
}
