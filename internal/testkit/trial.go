package testkit

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Names of the attributes (testing.TB.Attr) from which the table of trials is made.
const (
	TrialAttr   = "trial"
	OutcomeAttr = "outcome"
)

// trialSeconds is the name of the environment variable that sets the duration of trials
// under load.
const trialSeconds = "KVORUM_TRIAL_SECONDS"

// Outcome records the result of the trial with this id: one short sentence with the
// observed figures. It is called once, after all checks of the test.
func Outcome(t testing.TB, id, format string, args ...any) {
	t.Helper()
	t.Attr(TrialAttr, id)
	t.Attr(OutcomeAttr, strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", " "))
}

// TrialDuration returns the duration of a trial under load: the number of seconds in
// KVORUM_TRIAL_SECONDS, or short if that is not set.
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
