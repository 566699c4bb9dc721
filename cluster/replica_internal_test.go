package cluster

import "testing"

// sizedLog is a log whose entries all have one size.
type sizedLog struct {
	first, last uint64
	each        int64
}

func (l sizedLog) FirstIndex() uint64 { return l.first }
func (l sizedLog) LastIndex() uint64  { return l.last }

func (l sizedLog) BytesFrom(index uint64) int64 {
	if index > l.last {
		return 0
	}
	return int64(l.last-max(index, l.first)+1) * l.each
}

func TestTrailing(t *testing.T) {
	for name, tt := range map[string]struct {
		log   sizedLog
		bytes int64
		want  uint64
	}{
		"Empty":        {sizedLog{0, 0, 1}, 100, minTrailing},
		"AllFit":       {sizedLog{1, 5000, 10}, 1 << 20, 5000},
		"ByBytes":      {sizedLog{1001, 9000, 100}, 300_000, 3000},
		"NeverFewer":   {sizedLog{1, 9000, 1 << 20}, 64 << 20, minTrailing},
		"OneByteShort": {sizedLog{1, 9000, 100}, 299_999, 2999},
	} {
		if got := trailing(tt.log, tt.bytes); got != tt.want {
			t.Errorf("%s: got %d, want %d", name, got, tt.want)
		}
	}
}
