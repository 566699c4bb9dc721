package fsm

import (
	"container/heap"
	"sync"
)

// waiters are the goroutines that wait until a number, an applied index or a revision, has
// reached a target. The lowest target is the first. The zero value is empty.
type waiters struct {
	mu   sync.Mutex // guards heap and every waiter's position
	heap waiterHeap
}

type waiter struct {
	target   uint64
	reached  chan struct{} // closed by release
	position int           // in the heap; -1 once it is removed
}

// add returns a waiter for target, or false if current has reached target already. The
// caller must remove the waiter unless target was reached. The goroutine that advances the
// number calls release afterwards. So either add sees the new number, or release sees the
// waiter.
func (ws *waiters) add(target uint64, current func() uint64) (*waiter, bool) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if current() >= target {
		return nil, false
	}
	w := &waiter{target: target, reached: make(chan struct{})}
	heap.Push(&ws.heap, w)
	return w, true
}

// release wakes all waiters with a target up to current.
func (ws *waiters) release(current uint64) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for len(ws.heap) > 0 && ws.heap[0].target <= current {
		close(heap.Pop(&ws.heap).(*waiter).reached)
	}
}

// remove removes w, if release has not removed it.
func (ws *waiters) remove(w *waiter) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if w.position >= 0 {
		heap.Remove(&ws.heap, w.position)
	}
}

// waiterHeap implements heap.Interface.
type waiterHeap []*waiter

func (h waiterHeap) Len() int           { return len(h) }
func (h waiterHeap) Less(i, j int) bool { return h[i].target < h[j].target }

func (h waiterHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].position, h[j].position = i, j
}

func (h *waiterHeap) Push(x any) {
	w := x.(*waiter)
	w.position = len(*h)
	*h = append(*h, w)
}

func (h *waiterHeap) Pop() any {
	old := *h
	w := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	w.position = -1
	return w
}
