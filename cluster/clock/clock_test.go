package clock_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/kvorum/kvorum/cluster/clock"
)

// TestBegin_Median shows that a term begins at the median of the voters' clocks, or the lower
// of the two in the middle.
func TestBegin_Median(t *testing.T) {
	for name, tt := range map[string]struct {
		clocks []int64
		want   int64
	}{
		"Alone":        {[]int64{7}, 7},
		"TwoOneFast":   {[]int64{1 << 60, 7}, 7},
		"ThreeOneFast": {[]int64{8, 1 << 60, 7}, 8},
		"ThreeOneSlow": {[]int64{8, 0, 7}, 7},
		"Four":         {[]int64{1, 2, 3, 4}, 2},
		"Five":         {[]int64{5, 1, 4, 2, 3}, 3},
	} {
		var readings []clock.Reading
		for _, c := range tt.clocks {
			readings = append(readings, clock.Reading{Clock: c})
		}
		if got := clock.Begin(func() time.Duration { return 0 }, readings).Stamp(); got != tt.want {
			t.Errorf("%s: got %d, want %d", name, got, tt.want)
		}
	}
}

// voters are processes whose monotonic clocks run at rates; the first leads. now is the
// true time.
type voters struct {
	rates []float64
	runs  []uint64
	now   time.Duration
}

func (v *voters) elapsed(i int) time.Duration { return time.Duration(float64(v.now) * v.rates[i]) }

// ask returns the readings of those that are not silent. Each way takes up to delay.
func (v *voters) ask(rng *rand.Rand, delay time.Duration, silent int) (all []clock.Reading) {
	sent := v.elapsed(0)
	for i := range v.rates {
		if i == silent {
			continue
		}
		there := time.Duration(rng.Int64N(int64(delay) + 1))
		back := time.Duration(rng.Int64N(int64(delay) + 1))
		if i == 0 {
			there, back = 0, 0
		}
		at := *v
		at.now += there
		r := clock.Reading{Voter: string(rune('a' + i)), Run: v.runs[i], Elapsed: at.elapsed(i), Clock: int64(at.now), Sent: sent}
		at.now += back
		r.Received = at.elapsed(0)
		all = append(all, r)
	}
	v.now += 2 * delay
	return all
}

// TestFollow runs clocks of which a minority is wrong against true time, for a quarter of an
// hour with delays. The cluster clock never goes back, and is near true time.
func TestFollow(t *testing.T) {
	for name, tt := range map[string]struct {
		rates  []float64
		delay  time.Duration // of each way, at most
		silent bool          // each of the right voters but the leader is silent in some rounds
	}{
		"Right":              {[]float64{1, 1, 1}, 5 * time.Millisecond, true},
		"LeaderFast":         {[]float64{1.1, 1, 1}, 5 * time.Millisecond, false},
		"LeaderSlow":         {[]float64{0.9, 1, 1}, 5 * time.Millisecond, false},
		"LeaderStandsStill":  {[]float64{0, 1, 1}, 0, false},
		"VoterFast":          {[]float64{1, 1.1, 1}, 5 * time.Millisecond, false},
		"VoterStandsStill":   {[]float64{1, 1, 0}, 5 * time.Millisecond, false},
		"TwoOfFive":          {[]float64{1.1, 0.5, 1, 1, 1}, 5 * time.Millisecond, false},
		"Crystals":           {[]float64{1.0001, 1, 0.9999}, 5 * time.Millisecond, true},
		"LeaderFastFarApart": {[]float64{1.1, 1, 1}, 20 * time.Millisecond, false},
	} {
		t.Run(name, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(1, 2))
			v := &voters{rates: tt.rates, runs: []uint64{1, 1, 1, 1, 1}, now: time.Hour}
			c := clock.Begin(func() time.Duration { return v.elapsed(0) }, v.ask(rng, 0, -1))
			drift := 0.0 // of right clocks
			if name == "Crystals" {
				drift = 0.0001
			}
			bound := 4*tt.delay + 110*time.Millisecond
			begun, last := v.now, int64(0)
			for round := range 9000 {
				silent := -1
				if tt.silent && round%7 < 3 {
					silent = 1 + round%2
				}
				if round%4000 == 2000 {
					v.runs[1]++ // it has restarted, and half of those that are known may be wrong
					bound += 150 * time.Millisecond
				}
				c.Follow(v.ask(rng, tt.delay, silent), len(tt.rates))
				for range 10 {
					off := time.Duration(c.Stamp()) - v.now
					if off.Abs() > bound+time.Duration(drift*float64(v.now-begun)) {
						t.Fatalf("after %v: off by %v", v.now-begun, off)
					}
					if c.Stamp() < last {
						t.Fatalf("after %v: the clock goes back", v.now-begun)
					}
					last = c.Stamp()
					v.now += 10 * time.Millisecond
				}
			}
		})
	}
}

// TestFollow_NeedsMajority shows that fewer voters than a majority move nothing, nor do those
// that don't tell their monotonic clocks.
func TestFollow_NeedsMajority(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	v := &voters{rates: []float64{1.1, 1, 1}, runs: []uint64{1, 1, 1}, now: time.Hour}
	c := clock.Begin(func() time.Duration { return v.elapsed(0) }, v.ask(rng, 0, -1))
	v.now += time.Minute
	if c.Follow(v.ask(rng, 0, -1)[:1], 3) {
		t.Error("one of three has moved the clock")
	}
	v.runs[1], v.runs[2] = 0, 0
	if c.Follow(v.ask(rng, 0, -1), 3) {
		t.Error("older builds have moved the clock")
	}
}

// TestRaise shows that the clock continues from what an earlier leader has written.
func TestRaise(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	v := &voters{rates: []float64{1, 1, 1}, runs: []uint64{1, 1, 1}}
	c := clock.Begin(func() time.Duration { return v.elapsed(0) }, v.ask(rng, 0, -1))
	c.Raise(int64(time.Hour))
	c.Raise(int64(time.Minute))
	v.now += time.Second
	c.Follow(v.ask(rng, 0, -1), 3)
	if got, want := time.Duration(c.Stamp()), time.Hour+time.Second; got != want {
		t.Errorf("got %v, want %v", got, want)
	}
}

// TestCount shows that a count advances with its node's clock, and listens to no leader of
// an earlier term.
func TestCount(t *testing.T) {
	var c clock.Count
	if _, told := c.At(time.Second); told {
		t.Error("a clock that nobody has told")
	}
	c.Tell(2, 1000, time.Second)
	c.Tell(1, 5000, time.Second)
	if got, told := c.At(time.Second + 7); !told || got != 1007 {
		t.Errorf("got %d, %t, want 1007", got, told)
	}
}
