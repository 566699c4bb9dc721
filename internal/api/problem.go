package api

// Outcome says what became of a request that failed.
type Outcome string

// Outcomes, as the API names them.
const (
	NotDone Outcome = "not_done" // nothing changed
	Unknown Outcome = "unknown"  // it happened once or not at all
)

// Codes that clients tell apart; the others are in the server's table alone.
const (
	CodeKeyNotFound     = "key_not_found"
	CodeConditionFailed = "condition_failed"
	CodeNotJoined       = "not_joined"
	CodeInvalid         = "invalid"
)

// Problem is the body of an error answer, application/problem+json (RFC 9457).
type Problem struct {
	Type      string  `json:"type"`
	Title     string  `json:"title"`
	Status    int     `json:"status"`
	Detail    string  `json:"detail"`
	Code      string  `json:"code"`
	Retryable bool    `json:"retryable"` // the same request may succeed if it is sent again
	Outcome   Outcome `json:"outcome"`
}
