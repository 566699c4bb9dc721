//go:build unix

package machine

import (
	"fmt"
	"math"
	"syscall"
)

// RaiseDescriptors raises the limit on descriptors to the hard limit, where it is
// lower, and returns the limit that holds from now on.
//
// Go's runtime has done the same by the time that main runs, and gives children
// the limit that this process was started with. It does not any more once a
// program has set the limit itself, so nothing is set that is right already.
func RaiseDescriptors() (Descriptors, error) {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return Descriptors{}, fmt.Errorf("limit of file descriptors: %w", err)
	}
	if raised := l; l.Cur < l.Max {
		raised.Cur = l.Max
		if syscall.Setrlimit(syscall.RLIMIT_NOFILE, &raised) == nil {
			l = raised // where that is refused, the lower limit holds
		}
	}
	return Descriptors{Limit: clampInt(uint64(l.Cur)), Hard: clampInt(uint64(l.Max))}, nil
}

// clampInt returns n, or the greatest int where n is greater: no limit.
func clampInt(n uint64) int { return int(min(n, math.MaxInt32)) }
