// Package testkit holds what the tests of several packages share: a certificate
// authority, and the record of trials.
//
// A trial is a test that repeats, on the smallest input, what a bug report or a
// close reading showed of an earlier version. Its name begins with TestTrial_
// and the trial's id; Outcome records what it ends with, and `make trials` makes
// the table of docs/reliability.md from that.
package testkit
