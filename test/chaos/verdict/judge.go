package verdict

import (
	"bytes"
	"fmt"
	"strings"
	"time"

	"github.com/kvorum/kvorum/test/chaos/load"
	"github.com/kvorum/kvorum/test/chaos/record"
	"github.com/kvorum/kvorum/test/history"
)

const (
	// servedLimit is the maximum time from a heal to the next acknowledged write, in
	// seconds.
	servedLimit = 5.0
	// named is the maximum number of undecided keys that are named.
	named = 5
	// explained is the maximum number of keys without an order that are explained.
	explained = 30
)

// histories looks, key by key and group by group, for an order of the operations that
// explains them.
func (f *final) histories() {
	f.orders("the operations on each key have an order that explains them", "operations on %d keys", f.hist.Check)
	f.orders("the transactions on each group of keys have an order that explains them", "transactions on %d groups", f.hist.CheckTxns)
}

// orders adds the result of a check for orders. of describes its amount.
func (f *final) orders(promise, of string, check func(time.Duration) history.Report) {
	began := time.Now()
	report := check(checkLimit)
	none := &several{f: f, promise: promise}
	for i, failure := range report.Failures {
		none.add("those of %s have none", failure.Key)
		if i >= explained {
			continue
		}
		key := record.Key{Name: failure.Key, Explain: failure.Explain}
		if i < drawn {
			key.Picture = f.draw(failure)
		}
		f.run.Keys = append(f.run.Keys, key)
	}
	if n := len(report.Undecided); n > 0 {
		f.violate("undecided", "ours, not the cluster's: whether %d keys have such an order could not be decided within the bound: %s",
			n, strings.Join(report.Undecided[:min(n, named)], ", "))
	}
	f.check(promise, none.end() && len(report.Undecided) == 0, report.Operations,
		"%d "+of+", %d of unknown outcome, %d undecided, in %.1f s",
		report.Operations, report.Keys, report.Unknown, len(report.Undecided), time.Since(began).Seconds())
}

// draw returns the picture of a key, or a document with the reason why there is none.
func (f *final) draw(failure history.Failure) string {
	var picture bytes.Buffer
	if err := failure.Draw(&picture); err != nil {
		f.violate("the evidence is kept", "ours, not the cluster's: %v", err)
		return ""
	}
	return picture.String()
}

// promises adds the results of the clients' checks of each answer.
func (f *final) promises() {
	seen := map[string]history.Promise{}
	for _, p := range f.hist.Promises() {
		seen[p.Name] = p
	}
	for _, name := range load.Promises {
		p := seen[name]
		for i, breach := range p.Breaches {
			if i == told {
				break
			}
			f.run.Violations = append(f.run.Violations, record.Violation{At: f.at(breach.At), Promise: name, What: breach.What})
		}
		if more := p.Broken - min(told, len(p.Breaches)); more > 0 {
			f.violate(name, "and %d more of the kind", more)
		}
		f.check(name, p.Broken == 0, p.Looked, "%d answers", p.Looked)
	}
}

// service checks the faults that were made: after a heal there is a majority, which must
// serve soon. If no fault was made, there is no such check.
func (f *final) service() {
	promise := fmt.Sprintf("a write is acknowledged within %.0f s after each heal", servedLimit)
	made, terms, slowest, on := 0, uint64(0), 0.0, ""
	served := true
	for _, fault := range f.run.Faults {
		if !fault.Done {
			continue
		}
		made++
		terms = max(terms, fault.Terms)
		served = served && fault.Served >= 0 && fault.Served <= servedLimit
		if fault.Served > slowest {
			slowest, on = fault.Served, fault.Name
		}
	}
	if made > 0 {
		f.check(promise, served, made, "%d faults; the slowest after %.1f s (%s); at most %d terms in one", made, slowest, on, terms)
	}
}
