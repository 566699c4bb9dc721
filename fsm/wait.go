package fsm

import (
	"container/heap"
	"sync"
)

// waiters holds those who wait for a number that only grows, an applied index or
// a revision, the least first. Its zero value is empty.
type waiters struct {
	mu   sync.Mutex // guards heap and every waiter's position
	heap waiterHeap
}

type waiter struct {
	index    uint64
	reached  chan struct{} // closed by release
	position int           // in the heap; -1 once it left
}

// add returns a waiter for index, which its caller removes unless it was
// reached; or false if applied is there already. The goroutine that advances
// applied calls release afterwards, so either add sees the advance or release the waiter.
func (ws *waiters) add(index uint64, applied func() uint64) (*waiter, bool) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if applied() >= index {
		return nil, false
	}
	w := &waiter{index: index, reached: make(chan struct{})}
	heap.Push(&ws.heap, w)
	return w, true
}

// release wakes everybody who waits for an index up to applied.
func (ws *waiters) release(applied uint64) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for len(ws.heap) > 0 && ws.heap[0].index <= applied {
		close(heap.Pop(&ws.heap).(*waiter).reached)
	}
}

// remove takes w out, if it is still in.
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
func (h waiterHeap) Less(i, j int) bool { return h[i].index < h[j].index }

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
