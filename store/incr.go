package store

import (
	"math"
	"strconv"
)

// incr plans the sum of delta and the integer that key holds.
func (p *plan) incr(key string, delta int64) (int64, error) {
	var present, deadline int64
	if r := p.get(key); !r.IsZero() {
		var err error
		if present, err = strconv.ParseInt(string(r.Value()), 10, 64); err != nil {
			return 0, NewKeyError(key, ErrNotInteger)
		}
		deadline = r.Deadline()
	}
	if (delta > 0 && present > math.MaxInt64-delta) || (delta < 0 && present < math.MinInt64-delta) {
		return 0, NewKeyError(key, ErrOverflow)
	}
	sum := present + delta
	value := strconv.AppendInt(nil, sum, 10)
	if err := p.s.validateValue(key, value); err != nil {
		return 0, err
	}
	p.put(key, value, deadline)
	return sum, nil
}
