package cluster

import "testing"

func TestMedianClock(t *testing.T) {
	for name, tt := range map[string]struct {
		walls []int64
		want  int64
	}{
		"Alone":        {[]int64{7}, 7},
		"TwoOneFast":   {[]int64{1 << 60, 7}, 7},
		"ThreeOneFast": {[]int64{8, 1 << 60, 7}, 8},
		"ThreeOneSlow": {[]int64{8, 0, 7}, 7},
		"Four":         {[]int64{1, 2, 3, 4}, 2},
		"Five":         {[]int64{5, 1, 4, 2, 3}, 3},
	} {
		var answers []probeAnswer
		for _, w := range tt.walls {
			answers = append(answers, probeAnswer{wall: w})
		}
		if got := medianClock(answers); got != tt.want {
			t.Errorf("%s: got %d, want %d", name, got, tt.want)
		}
	}
}

func TestProbeAnswer_Encoding(t *testing.T) {
	want := probeAnswer{term: 1<<63 + 5, wall: -3}
	if got, err := decodeProbeAnswer(want.encode()); err != nil || got != want {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	for _, b := range [][]byte{nil, make([]byte, 15), make([]byte, 17)} {
		if _, err := decodeProbeAnswer(b); err == nil {
			t.Errorf("%d bytes: got no error", len(b))
		}
	}
}
