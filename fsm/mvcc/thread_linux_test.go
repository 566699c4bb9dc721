package mvcc_test

import (
	"time"

	"golang.org/x/sys/unix"
)

// threadTime returns the processor time that the present thread has used. Getrusage would
// only have the time up to the last tick of the kernel.
func threadTime() time.Duration {
	var used unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &used); err != nil {
		panic(err)
	}
	return time.Duration(used.Nano())
}
