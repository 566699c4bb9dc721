//go:build unix

package machine

import (
	"fmt"
	"math"
	"syscall"
)

// RaiseDescriptors raises the limit on descriptors to the hard limit, if it is lower, and
// returns the new limit.
//
// Go's runtime has usually done this before main runs. Then it gives child processes the
// limit with which this process was started, unless the program has set the limit itself.
// So RaiseDescriptors sets nothing if the limit is right already.
func RaiseDescriptors() (Descriptors, error) {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return Descriptors{}, fmt.Errorf("limit of file descriptors: %w", err)
	}
	if raised := l; l.Cur < l.Max {
		raised.Cur = l.Max
		if syscall.Setrlimit(syscall.RLIMIT_NOFILE, &raised) == nil {
			l = raised // if the call is refused, the lower limit stays
		}
	}
	return Descriptors{Limit: clampInt(uint64(l.Cur)), Hard: clampInt(uint64(l.Max))}, nil
}

// clampInt returns n, or math.MaxInt32 if n is greater: the system's value for no limit.
func clampInt(n uint64) int { return int(min(n, math.MaxInt32)) }
