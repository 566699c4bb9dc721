package versus

import (
	"math"
	"strings"
	"testing"
	"time"
)

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   float64
	}{
		{[]float64{3}, 3},
		{[]float64{9, 1, 2}, 2},
		{[]float64{4, 1, 2, 9}, 3},
	} {
		if got := median(c.values); got != c.want {
			t.Errorf("median of %v is %g, want %g", c.values, got, c.want)
		}
	}
	if got := median(nil); !math.IsNaN(got) {
		t.Errorf("median of nothing is %g", got)
	}
}

// outages returns trials of those lengths, in milliseconds, during which half as much
// was written as before.
func outages(lengths ...int) []trial {
	var trials []trial
	for _, d := range ms(lengths...) {
		trials = append(trials, trial{before: 200, during: 100, floor: d / 100, without: d, served: true})
	}
	return trials
}

func TestRow_Verdict(t *testing.T) {
	lost := outages(100, 100, 100)
	lost[1].served = false
	for name, c := range map[string]struct {
		ours, theirs []trial
		ratio        float64
		want         string
	}{
		"Met":            {outages(500, 900, 400), outages(1000, 2000, 1000), 0.45, "met"},
		"Missed":         {outages(600, 900, 400), outages(1000, 1000, 1000), 0.6, "missed"},
		"MedianOfRatios": {outages(400, 2000, 400), outages(500, 8000, 2000), 0.25, "met"},
		"NoOutage":       {outages(30, 40, 50), outages(20, 20, 20), 2, "no outage of either"},
		"TheirsAlone":    {outages(30, 40, 50), outages(300, 400, 500), 0.1, "met"},
		"OursAlone":      {outages(300, 300, 300), outages(200, 200, 200), 1.5, "missed"},
		"NotServedAgain": {lost, outages(1000, 1000, 1000), 0.1, "missed"},
	} {
		t.Run(name, func(t *testing.T) {
			r := row{trials: [2][]trial{c.ours, c.theirs}}
			if got := r.ratio(); math.Abs(got-c.ratio) > 1e-9 {
				t.Errorf("ratio %g, want %g", got, c.ratio)
			}
			if got := r.verdict(); got != c.want {
				t.Errorf("verdict %q, want %q", got, c.want)
			}
		})
	}
}

func TestResult_Write(t *testing.T) {
	lost := outages(1500, 1000, 2000)
	lost[2].served = false
	r := &Result{
		Kind: "namespaces", Took: 400 * time.Second,
		cfg: Config{
			Contenders: [2]Contender{{Name: "Kvorum", Version: "v1"}, {Name: "etcd", Version: "3.7.3"}},
			Rounds:     3, Writers: 8, Timeout: time.Second, Steady: 2500 * time.Millisecond, During: 4 * time.Second,
		},
		rows: []row{
			{fault: "kill", trials: [2][]trial{outages(500, 400, 600), lost}},
			{fault: "loss", missing: "etcd, round 1: no such device"},
		},
	}
	if r.Complete() {
		t.Error("a result that lacks a row is complete")
	}
	var b strings.Builder
	if err := r.Write(&b); err != nil {
		t.Fatal(err)
	}
	want := `Kvorum (v1) and etcd 3.7.3: 3 nodes each, namespaces, 24 writers whose requests get 1 s, 3 rounds in turn, 2.5 s before and 4 s of each fault, 400 s in all.

| fault | throughput during it, of that before: Kvorum | etcd | longest time without a write: Kvorum | etcd | Kvorum ÷ etcd | at most 0.5 |
|---|---|---|---|---|---|---|
| kill | 50 % (50 %–50 %) | 50 % (50 %–50 %) | 0.500 s (0.400 s–0.600 s) | 1.500 s (1.000 s–2.000 s), of which 1 did not end | 0.33 | met |

Before the faults Kvorum took 200 (200–200) writes/s; the longest time without one was then 0.005 s (0.004 s–0.006 s). Before the faults etcd took 200 (200–200) writes/s; the longest time without one was then 0.015 s (0.010 s–0.020 s). Medians, and in brackets the least and most of the rounds.

Not shown, because it could not be made: loss (etcd, round 1: no such device).
`
	if b.String() != want {
		t.Errorf("the table is\n%s\nwant\n%s", b.String(), want)
	}
}
