//go:build linux

package lab

import (
	"fmt"
	"sync/atomic"
)

// exitsBuffer is the maximum number of ends of processes that wait to be taken.
const exitsBuffer = 256

// exits delivers the ends of a Lab's processes.
type exits struct {
	taken   chan Exit
	dropped atomic.Int64 // ends that were not taken
}

func newExits() *exits { return &exits{taken: make(chan Exit, exitsBuffer)} }

// Exits implements Lab.
func (x *exits) Exits() <-chan Exit { return x.taken }

// report delivers the end of a process, or counts it if the buffer is full.
func (x *exits) report(e Exit) {
	select {
	case x.taken <- e:
	default:
		x.dropped.Add(1)
	}
}

// missed returns an error with the number of ends that were not taken, nil for none.
func (x *exits) missed() error {
	if n := x.dropped.Load(); n > 0 {
		return fmt.Errorf("%d ends of processes were not taken from Exits", n)
	}
	return nil
}
