// Package testkit has the helpers that the tests of several packages share: a certificate
// authority, polling until a condition holds, a log in memory, and the outcomes of trials.
//
// A trial is a test that repeats a bug of an earlier version on the smallest input that
// shows it. The name of a trial begins with TestTrial_ and the trial's id. Outcome records
// its result, and `make trials` makes the table in docs/reliability.md from the results.
package testkit
