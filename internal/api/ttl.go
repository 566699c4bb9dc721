package api

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/kvorum/kvorum/kv"
)

// ttlForms continues a sentence about a text that is no time to live.
const ttlForms = "must be a duration with its unit, such as 30s, 1500ms or 1h30m"

// ParseTTL returns the time to live in a text: a duration as Go writes it. The error continues a
// sentence about the text.
func ParseTTL(text string) (time.Duration, error) {
	ttl, err := parseTTL(text, maxTTLText)
	if err != nil {
		return 0, err
	}
	return ttl, CheckTTL(ttl)
}

// parseTTL returns the duration in a text. most is the maximum, for the error.
func parseTTL(text, most string) (time.Duration, error) {
	ttl, err := time.ParseDuration(text)
	switch {
	case text != "" && strings.Trim(text, "+-.0123456789") == "": // also "0", which Go accepts
		return 0, errors.New("is a number without a unit, and " + ttlForms)
	case err != nil:
		return 0, fmt.Errorf("%s, and at most %s", ttlForms, most)
	}
	return ttl, nil
}

// maxTTLText is kv.MaxTTL in hours.
var maxTTLText = fmt.Sprintf("%dh (100 years)", kv.MaxTTL/time.Hour)

// CheckTTL returns an error for a time to live that no request may have. The error continues a
// sentence about it.
func CheckTTL(ttl time.Duration) error {
	switch {
	case ttl < kv.MinTTL:
		return fmt.Errorf("is %v, the minimum is %v", ttl, kv.MinTTL)
	case ttl > kv.MaxTTL:
		return fmt.Errorf("is %v, the maximum is %s", ttl, maxTTLText)
	case ttl%time.Millisecond != 0:
		return fmt.Errorf("is %v, which is no whole number of milliseconds", ttl)
	}
	return nil
}

// deadlineFormat is the form of deadlines: RFC 3339 with milliseconds.
const deadlineFormat = "2006-01-02T15:04:05.000Z07:00"

// AppendDeadline appends a deadline, in milliseconds since the Unix epoch, as answers have it.
func AppendDeadline(dst []byte, deadline int64) []byte {
	return time.UnixMilli(deadline).UTC().AppendFormat(dst, deadlineFormat)
}

// FormatDeadline returns a deadline as answers have it, "" for 0, which is none.
func FormatDeadline(deadline int64) string {
	if deadline == 0 {
		return ""
	}
	return string(AppendDeadline(nil, deadline))
}

// ParseDeadline returns the deadline in a text of RFC 3339, 0 for "". A part of a millisecond
// is left out.
func ParseDeadline(text string) (int64, error) {
	if text == "" {
		return 0, nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return 0, fmt.Errorf("expires_at %.40q is no time of RFC 3339, such as 2026-01-02T15:04:05.000Z", text)
	}
	return at.UnixMilli(), nil
}
