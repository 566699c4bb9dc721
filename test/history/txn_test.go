package history_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/kvorum/kvorum/test/history"
)

// txns fills a history with transactions on one group.
type txns struct {
	t *testing.T
	h *history.History
}

// txn adds a transaction and its answer, both as JSON. Without an answer it is unknown.
func (r txns) txn(in, out string) {
	r.t.Helper()
	var txn history.Txn
	var answer history.TxnOutput
	if err := json.Unmarshal([]byte(in), &txn); err != nil {
		r.t.Fatalf("%s: %v", in, err)
	}
	if answer.Unknown = out == ""; !answer.Unknown {
		if err := json.Unmarshal([]byte(out), &answer); err != nil {
			r.t.Fatalf("%s: %v", out, err)
		}
	}
	r.h.AddTxn(1, "g/", txn, answer, r.h.Call())
}

const (
	all   = `{"then":[{"range":{"prefix":"g/"}}]}`
	putA  = `{"then":[{"put":{"key":"g/a","value":"x"}},{"add":{"key":"g/n","delta":3}}]}`
	putOK = `{"succeeded":true,"revision":5,"results":[{},{"number":3}]}`
	both  = `{"succeeded":true,"revision":%d,"results":[{"items":[{"key":"g/a","value":"x","version":1},{"key":"g/n","value":"3","version":1}]}]}`
	none  = `{"succeeded":true,"revision":%d,"results":[{"items":[]}]}`
)

// TestHistory_CheckTxns shows which histories of transactions have an order.
func TestHistory_CheckTxns(t *testing.T) {
	for name, tt := range map[string]struct {
		fill func(txns)
		want bool
	}{
		"Seen":           {func(r txns) { r.txn(putA, putOK); r.txn(all, fmt.Sprintf(both, 5)) }, true},
		"Lost":           {func(r txns) { r.txn(putA, putOK); r.txn(all, fmt.Sprintf(none, 5)) }, false},
		"UnknownSeen":    {func(r txns) { r.txn(putA, ""); r.txn(all, fmt.Sprintf(both, 5)) }, true},
		"UnknownNotSeen": {func(r txns) { r.txn(putA, ""); r.txn(all, fmt.Sprintf(none, 5)) }, true},
		"UnknownGone":    {func(r txns) { r.txn(putA, ""); r.txn(all, fmt.Sprintf(both, 5)); r.txn(all, fmt.Sprintf(none, 5)) }, false},
		"HalfOfIt": {func(r txns) {
			r.txn(putA, "")
			r.txn(all, `{"succeeded":true,"revision":5,"results":[{"items":[{"key":"g/a","value":"x","version":1}]}]}`)
		}, false},
		"OldRevision": {func(r txns) { r.txn(putA, putOK); r.txn(all, fmt.Sprintf(both, 4)) }, false},
		"SameRevisionTwice": {func(r txns) {
			r.txn(putA, putOK)
			r.txn(`{"then":[{"put":{"key":"g/a","value":"y"}}]}`, `{"succeeded":true,"revision":5,"results":[{"existed":true}]}`)
		}, false},
		"CompareHolds": {func(r txns) {
			r.txn(putA, putOK)
			r.txn(`{"if":[{"key":"g/a","value":"x"},{"key":"g/n","version":1},{"key":"g/b","exists":false}],"then":[{"delete":{"prefix":"g/"}}],"else":[]}`,
				`{"succeeded":true,"revision":6,"results":[{"deleted":2}]}`)
			r.txn(all, fmt.Sprintf(none, 6))
		}, true},
		"CompareIgnored": {func(r txns) {
			r.txn(putA, putOK)
			r.txn(`{"if":[{"key":"g/a","value":"z"}],"then":[{"delete":{"prefix":"g/"}}],"else":[]}`, `{"succeeded":true,"revision":6,"results":[{"deleted":2}]}`)
		}, false},
		"ElseBranch": {func(r txns) {
			r.txn(putA, putOK)
			r.txn(`{"if":[{"key":"g/a","exists":false}],"then":[],"else":[{"add":{"key":"g/n","delta":-1}},{"get":{"key":"g/n"}}]}`,
				`{"succeeded":false,"revision":6,"results":[{"existed":true,"number":2},{"item":{"key":"g/n","value":"2","version":2}}]}`)
		}, true},
		"CompareSeesEarlierOps": {func(r txns) { // of the same transaction, which it must not
			r.txn(`{"if":[{"key":"g/a","exists":true}],"then":[{"put":{"key":"g/a","value":"x"}}],"else":[]}`, `{"succeeded":true,"revision":6,"results":[{}]}`)
		}, false},
		"AddTwice": {func(r txns) {
			r.txn(putA, putOK)
			r.txn(`{"then":[{"add":{"key":"g/n","delta":1}}]}`, `{"succeeded":true,"revision":6,"results":[{"existed":true,"number":5}]}`)
		}, false},
	} {
		r := txns{t, history.New("")}
		tt.fill(r)
		report := r.h.CheckTxns(10 * time.Second)
		if got := len(report.Failures) == 0; got != tt.want || len(report.Undecided) != 0 || report.Keys != 1 {
			t.Errorf("%s: got %+v, want an order: %t", name, report, tt.want)
		}
	}
}

// TestHistory_CheckTxnsExplains shows that the explanation of a group ends at the failure, and
// can be drawn.
func TestHistory_CheckTxnsExplains(t *testing.T) {
	r := txns{t, history.New("")}
	r.txn(putA, putOK)
	r.txn(all, fmt.Sprintf(none, 5))
	r.txn(all, fmt.Sprintf(both, 6))
	report := r.h.CheckTxns(10 * time.Second)
	if len(report.Failures) != 1 || strings.Count(report.Failures[0].Explain, "\n") != 2 {
		t.Fatalf("got %+v", report)
	}
	var picture bytes.Buffer
	if err := report.Failures[0].Draw(&picture); err != nil || !strings.Contains(picture.String(), "</html>") {
		t.Errorf("the picture has %d bytes: %v", picture.Len(), err)
	}
}

// TestHistory_CheckTxnsManyOpen shows that a group with some transactions of unknown outcome
// is decided, whether they happened or not.
func TestHistory_CheckTxnsManyOpen(t *testing.T) {
	for seed := range uint64(3) {
		rng, r := rand.New(rand.NewPCG(seed, 1)), txns{t, history.New("")}
		sum, version, revision := 0, 0, 1
		for i := range 120 {
			delta := 1 + rng.IntN(9)
			in := fmt.Sprintf(`{"then":[{"add":{"key":"g/n","delta":%d}}]}`, delta)
			lost := i%20 == 7
			if !lost || rng.IntN(2) == 0 {
				sum, version, revision = sum+delta, version+1, revision+1
			}
			if lost {
				r.txn(in, "")
				continue
			}
			r.txn(in, fmt.Sprintf(`{"succeeded":true,"revision":%d,"results":[{"existed":%t,"number":%d}]}`, revision, version > 1, sum))
		}
		if report := r.h.CheckTxns(time.Minute); len(report.Failures)+len(report.Undecided) > 0 || report.Unknown != 6 {
			t.Errorf("seed %d: got %+v", seed, report)
		}
		r.txn(`{"then":[{"get":{"key":"g/n"}}]}`, fmt.Sprintf(`{"succeeded":true,"revision":%d,"results":[{"item":null}]}`, revision+1))
		if report := r.h.CheckTxns(time.Minute); len(report.Failures) != 1 {
			t.Errorf("seed %d: a lost key was let through: %+v", seed, report)
		}
	}
}

// TestHistory_CheckCounters shows which histories of counters are accepted.
func TestHistory_CheckCounters(t *testing.T) {
	for name, tt := range map[string]struct {
		fill  func(h *history.History)
		final int64
		want  bool
	}{
		"Acknowledged": {func(*history.History) {}, 3, true},
		"Lost":         {func(*history.History) {}, 1, false},
		"OneTooMany":   {func(*history.History) {}, 4, false},
		"Unknown":      {func(h *history.History) { h.AddCount("c", 2, 0, 0, true, h.Call()) }, 5, true},
		"UnknownTwice": {func(h *history.History) { h.AddCount("c", 2, 0, 0, true, h.Call()) }, 7, false},
		"SumTwice": {func(h *history.History) {
			h.AddCount("c", 2, 3, 9, false, h.Call())
			h.AddCount("c", 9, 0, 0, true, h.Call())
		}, 5, false},
		"Revisions": {func(h *history.History) { h.AddCount("c", 2, 5, 7, false, h.Call()) }, 5, false},
		"BackInTime": {func(h *history.History) { // it began after the sum 3 had been answered
			h.AddCount("c", 4, 7, 12, false, h.Call())
			h.AddCount("c", 2, 5, 11, true, h.Call())
			h.AddCount("c", 1, 6, 13, false, h.Call())
		}, 8, false},
	} {
		h := history.New("")
		h.AddCount("c", 1, 1, 5, false, h.Call())
		h.AddCount("c", 2, 3, 8, false, h.Call())
		tt.fill(h)
		report := h.CheckCounters(func(string) int64 { return tt.final })
		if got := len(report.Failures) == 0; got != tt.want || report.Counters != 1 {
			t.Errorf("%s: got %+v, want %t", name, report, tt.want)
		}
	}
}
