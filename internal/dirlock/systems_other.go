//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package dirlock

// lockOfFile says that Acquire refuses on this system: two processes on one data
// directory would destroy it.
const lockOfFile = false
