package main

import (
	"fmt"
	"testing"
	"time"
)

// TestWarningDue lists the times of warnings of a certificate's end, for a node that checks
// every ten minutes.
func TestWarningDue(t *testing.T) {
	ends := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	var warned time.Time
	var left []string
	for now := ends.Add(-40 * day); now.Before(ends.Add(2 * time.Hour)); now = now.Add(10 * time.Minute) {
		if warningDue(ends, warned, now) {
			left = append(left, fmt.Sprint(ends.Sub(now).Hours()))
			warned = now
		}
	}
	want := []string{"720", "168", "144", "120", "96", "72", "48"}
	for h := 24; h > -2; h-- {
		want = append(want, fmt.Sprint(h))
	}
	if fmt.Sprint(left) != fmt.Sprint(want) {
		t.Errorf("warnings with hours left: %v, want %v", left, want)
	}
}
