package api

import "github.com/kvorum/kvorum/kv"

// Codes that only HTTP has, for outcomes that are results of kv.Engine but errors of HTTP.
// Other codes are those of the classes of package kv.
const (
	CodeKeyNotFound     kv.Code = "key_not_found"
	CodeConditionFailed kv.Code = "condition_failed"
)

// Problem is the body of an error answer, application/problem+json (RFC 9457).
type Problem struct {
	Type      string     `json:"type"`
	Title     string     `json:"title"`
	Status    int        `json:"status"`
	Detail    string     `json:"detail"`
	Code      kv.Code    `json:"code"`
	Retryable bool       `json:"retryable"` // the same request may succeed if it is sent again
	Outcome   kv.Outcome `json:"outcome"`
}
