package transport

import (
	"context"
	"sync"
	"time"
)

// pace bounds how fast snapshots are sent, all together.
type pace struct {
	rate int64 // bytes per second; 0 is unlimited

	mu   sync.Mutex
	next time.Time // guarded by mu; when the bytes handed out so far have had their time
}

// piece returns how many bytes to send at once, at most limit, so that something
// is sent ten times a second.
func (p *pace) piece(limit int) int {
	if p.rate == 0 {
		return limit
	}
	return int(min(int64(limit), max(p.rate/10, 1)))
}

// wait returns when n more bytes may be sent, or false when ctx ends.
func (p *pace) wait(ctx context.Context, n int) bool {
	if p.rate == 0 {
		return ctx.Err() == nil
	}
	p.mu.Lock()
	now := time.Now()
	if p.next.Before(now) {
		p.next = now
	}
	wait := p.next.Sub(now)
	p.next = p.next.Add(time.Duration(float64(n) / float64(p.rate) * float64(time.Second)))
	p.mu.Unlock()
	return sleep(ctx, wait)
}
