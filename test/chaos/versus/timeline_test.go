package versus

import (
	"testing"
	"time"
)

// ms returns moments in milliseconds as durations.
func ms(moments ...int) []time.Duration {
	var all []time.Duration
	for _, m := range moments {
		all = append(all, time.Duration(m)*time.Millisecond)
	}
	return all
}

func TestTimeline_Rate(t *testing.T) {
	line := newTimeline(ms(100, 1500, 2000), ms(50, 1999))
	for _, c := range []struct {
		from, to int
		want     float64
	}{
		{0, 1000, 2},
		{100, 1100, 1}, // the first moment counts
		{1000, 2000, 2},
		{1000, 2001, 3 / 1.001},
		{2500, 3500, 0},
		{1000, 1000, 0},
		{2000, 1000, 0},
	} {
		if got := line.rate(ms(c.from)[0], ms(c.to)[0]); got != c.want {
			t.Errorf("from %d to %d ms: %g writes/s, want %g", c.from, c.to, got, c.want)
		}
	}
}

func TestTimeline_LongestGap(t *testing.T) {
	for name, c := range map[string]struct {
		acks     timeline
		from, to int
		want     int
	}{
		"None":         {nil, 100, 900, 800},
		"Between":      {newTimeline(ms(100, 150, 700, 800)), 100, 900, 550},
		"AtBeginning":  {newTimeline(ms(700, 800)), 100, 900, 600},
		"AtEnd":        {newTimeline(ms(150, 300)), 100, 900, 600},
		"BeforeAndOut": {newTimeline(ms(10, 90, 950)), 100, 900, 800},
		"Unordered":    {newTimeline(ms(500, 300), ms(700, 200)), 100, 900, 200},
		"AtOnce":       {newTimeline(ms(400, 400, 400)), 100, 900, 500},
		"Empty":        {newTimeline(ms(400)), 900, 900, 0},
	} {
		t.Run(name, func(t *testing.T) {
			if got := c.acks.longestGap(ms(c.from)[0], ms(c.to)[0]); got != ms(c.want)[0] {
				t.Errorf("longest gap %v, want %d ms", got, c.want)
			}
		})
	}
}
