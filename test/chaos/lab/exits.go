//go:build linux

package lab

import (
	"fmt"
	"sync/atomic"
)

// exitsBuffer is the number of ends of processes that wait to be taken.
const exitsBuffer = 256

// exits passes on how the processes of a Lab ended.
type exits struct {
	taken   chan Exit
	dropped atomic.Int64 // ends that nobody took
}

func newExits() *exits { return &exits{taken: make(chan Exit, exitsBuffer)} }

// Exits implements Lab.
func (x *exits) Exits() <-chan Exit { return x.taken }

// report passes the end of a process on, or counts it where nobody takes it.
func (x *exits) report(e Exit) {
	select {
	case x.taken <- e:
	default:
		x.dropped.Add(1)
	}
}

// missed returns an error that says how many ends nobody took, nil for none.
func (x *exits) missed() error {
	if n := x.dropped.Load(); n > 0 {
		return fmt.Errorf("%d ends of processes were not taken from Exits", n)
	}
	return nil
}
