package main

import (
	"strings"
	"testing"
)

func TestCompare(t *testing.T) {
	table := compare("reads", []string{"a", "b"}, [][]figures{
		{{"ours", []float64{2e6, 3e6}}, {"theirs", []float64{1e6, 1e6}}},
		{{"ours", []float64{500}}, {"theirs", []float64{2000}}},
	})
	var b strings.Builder
	table.write(&b)
	want := `
| reads | a | b |
|---|---|---|
| ours | 2.5 M/s | 500/s |
| theirs | 1 M/s (2.50×) | 2 k/s (0.25×) |

`
	if got := b.String(); got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
}

func TestSideBySide(t *testing.T) {
	table := sideBySide("requests", []string{"put", "get"}, [][]figures{
		{{"new", []float64{200, 300, 900}}, {"old", []float64{100, 300, 300}}},
		{{"new", []float64{5000}}, {"old", []float64{10000}}},
	}, rate)
	var b strings.Builder
	table.write(&b)
	want := `
| requests | new | old | quotient | spread |
|---|---|---|---|---|
| put | 300/s | 300/s | 2.00 | 1.00 to 3.00 |
| get | 5 k/s | 10 k/s | 0.50 | 0.50 to 0.50 |

`
	if got := b.String(); got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
}
