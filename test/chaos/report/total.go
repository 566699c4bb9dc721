package report

import (
	"math"

	"github.com/kvorum/kvorum/test/chaos/record"
)

// total is the sum of all faults of one name, in one run or in several.
type total struct {
	Name     string
	Made     int
	Missing  int       // could not be made
	Never    int       // no write was acknowledged after them
	Served   []float64 // seconds from the heal until a write was acknowledged, of the others
	Without  float64   // the longest time without an acknowledged write, in seconds
	Terms    uint64    // the sum
	MaxTerms uint64

	during, usual float64 // writes while only this fault was in progress, and those in the same time without any fault
}

// Share returns the throughput of writes while only this fault was in progress, as a part
// of the same runs' throughput without any fault. It is NaN if no second was free of other
// faults.
func (t *total) Share() float64 {
	if t.usual == 0 {
		return math.NaN()
	}
	return t.during / t.usual
}

// totals adds up the faults of all runs by name, in the order of their first ones.
func totals(runs ...*record.Run) []*total {
	var all []*total
	named := map[string]*total{}
	for _, run := range runs {
		usual := undisturbed(run)
		for i, f := range run.Faults {
			t := named[f.Name]
			if t == nil {
				t = &total{Name: f.Name}
				named[f.Name], all = t, append(all, t)
			}
			t.add(f)
			if f.Done {
				t.compare(run, i, usual)
			}
		}
	}
	return all
}

// add adds one fault.
func (t *total) add(f record.Fault) {
	if !f.Done {
		t.Missing++
		return
	}
	t.Made++
	if f.Served < 0 {
		t.Never++
	} else {
		t.Served = append(t.Served, f.Served)
	}
	t.Without = max(t.Without, f.Without)
	t.Terms += f.Terms
	t.MaxTerms = max(t.MaxTerms, f.Terms)
}

// compare adds the writes of all whole seconds in which only fault i was in progress.
func (t *total) compare(run *record.Run, i int, usual float64) {
	from, to := int(math.Ceil(run.Faults[i].From)), int(run.Faults[i].To)
	for at := max(from, 0); at < min(to, len(run.Seconds)); at++ {
		if disturbed(run, at, i) {
			continue
		}
		t.during += float64(run.Seconds[at].Acknowledged)
		t.usual += usual
	}
}

// undisturbed returns the mean number of writes in the seconds without any fault, and
// 0 if there was none.
func undisturbed(run *record.Run) float64 {
	sum, n := 0, 0
	for at, second := range run.Seconds {
		if !disturbed(run, at, -1) {
			sum, n = sum+second.Acknowledged, n+1
		}
	}
	if n == 0 {
		return 0
	}
	return float64(sum) / float64(n)
}

// disturbed reports whether a fault, other than fault except, touched a second. A fault
// lasts until a write was acknowledged after it.
func disturbed(run *record.Run, at, except int) bool {
	for i, f := range run.Faults {
		end := f.To + f.Served
		if f.Served < 0 {
			end = math.Inf(1)
		}
		if i != except && f.Done && f.From < float64(at+1) && end >= float64(at) {
			return true
		}
	}
	return false
}
