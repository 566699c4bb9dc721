package testkit

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Names of the attributes (testing.TB.Attr) that the table of trials is made from.
const (
	TrialAttr   = "trial"
	OutcomeAttr = "outcome"
)

// trialSeconds names the variable that sets how long the trials last that run
// under load.
const trialSeconds = "KVORUM_TRIAL_SECONDS"

// Outcome records what the trial with this id ends with, as one short sentence
// with the figures that were observed. It is called once, when the test has
// checked all that it checks.
func Outcome(t testing.TB, id, format string, args ...any) {
	t.Helper()
	t.Attr(TrialAttr, id)
	t.Attr(OutcomeAttr, strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", " "))
}

// TrialDuration returns for how long a trial under load runs: the number of
// seconds in KVORUM_TRIAL_SECONDS, or short where that is not set.
func TrialDuration(t testing.TB, short time.Duration) time.Duration {
	t.Helper()
	text, ok := os.LookupEnv(trialSeconds)
	if !ok {
		return short
	}
	seconds, err := strconv.Atoi(text)
	if err != nil || seconds < 1 {
		t.Fatalf("%s is %q, not a positive number of seconds", trialSeconds, text)
	}
	return time.Duration(seconds) * time.Second
}
