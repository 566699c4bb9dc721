//go:build linux

package lab

import (
	"container/heap"
	"slices"
	"sync"
	"time"
)

// maxQueued is the maximum number of packets that wait in a link; more are lost.
const maxQueued = 20_000

// link is the shaped network from one host to another, for packets.
type link struct {
	deliver func(packet []byte)
	wake    chan struct{} // one slot; filled when the queue's head may have changed
	quit    chan struct{}
	done    sync.WaitGroup

	mu      sync.Mutex
	dropAll bool        // guarded by mu
	wire    wire        // guarded by mu
	queue   packetQueue // guarded by mu
	offered uint64      // guarded by mu; the number of packets that were queued
}

// newLink makes a link that does not change the packets. It must be closed.
func newLink(deliver func(packet []byte)) *link {
	l := &link{deliver: deliver, wake: make(chan struct{}, 1), quit: make(chan struct{})}
	l.done.Go(l.run)
	return l
}

func (l *link) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dropAll = true
	l.queue = nil
}

func (l *link) shape(how Shape) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wire.how = how
}

// heal ends cut and shape, and sends all waiting packets.
func (l *link) heal() {
	l.mu.Lock()
	l.dropAll, l.wire = false, wire{}
	for _, p := range l.queue {
		p.at = time.Time{}
	}
	heap.Init(&l.queue)
	l.mu.Unlock()
	l.kick()
}

func (l *link) kick() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// offer sends a copy of packet.
func (l *link) offer(packet []byte) {
	l.mu.Lock()
	now := time.Now()
	if l.dropAll || l.wire.lost() || l.wire.full(now) || len(l.queue) >= maxQueued {
		l.mu.Unlock()
		return
	}
	l.offered++
	heap.Push(&l.queue, &queued{at: l.wire.due(now, len(packet)), number: l.offered, packet: slices.Clone(packet)})
	l.mu.Unlock()
	l.kick()
}

// run delivers packets when they are due.
func (l *link) run() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		packet, wait := l.next(time.Now())
		if packet != nil {
			l.deliver(packet)
			continue
		}
		timer.Reset(wait)
		select {
		case <-timer.C:
		case <-l.wake:
		case <-l.quit:
			return
		}
	}
}

// next returns the packet that is due, or the time until one is due.
func (l *link) next(now time.Time) ([]byte, time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.queue) == 0 {
		return nil, time.Hour
	}
	if wait := l.queue[0].at.Sub(now); wait > 0 {
		return nil, wait
	}
	return heap.Pop(&l.queue).(*queued).packet, 0
}

// close ends the link; waiting packets are lost.
func (l *link) close() {
	close(l.quit)
	l.done.Wait()
}

// queued is a packet in the link.
type queued struct {
	at     time.Time
	number uint64
	packet []byte
}

// packetQueue is a heap of packets; the one that is due next is the first.
type packetQueue []*queued

func (q packetQueue) Len() int { return len(q) }
func (q packetQueue) Less(i, j int) bool {
	if q[i].at.Equal(q[j].at) {
		return q[i].number < q[j].number
	}
	return q[i].at.Before(q[j].at)
}
func (q packetQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *packetQueue) Push(x any)   { *q = append(*q, x.(*queued)) }
func (q *packetQueue) Pop() any {
	old := *q
	last := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	return last
}
