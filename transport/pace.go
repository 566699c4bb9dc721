package transport

import (
	"context"

	"golang.org/x/time/rate"
)

// pace bounds how fast snapshots are sent, all together.
type pace struct{ limiter *rate.Limiter }

// newPace returns a pace of so many bytes per second, of none at all for 0. Pieces are
// so small that something is sent ten times a second.
func newPace(bytesPerSecond int64) pace {
	if bytesPerSecond == 0 {
		return pace{rate.NewLimiter(rate.Inf, 0)}
	}
	piece := min(snapshotPiece, max(bytesPerSecond/10, 1))
	return pace{rate.NewLimiter(rate.Limit(bytesPerSecond), int(piece))}
}

// piece returns how many bytes to send at once, at most limit.
func (p pace) piece(limit int) int {
	if p.limiter.Limit() == rate.Inf {
		return limit
	}
	return min(limit, p.limiter.Burst())
}

// wait returns when n more bytes, at most a piece, may be sent, or false when ctx ends.
func (p pace) wait(ctx context.Context, n int) bool { return p.limiter.WaitN(ctx, n) == nil }
