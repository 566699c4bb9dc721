//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package dirlock

// lockOfFile says whether the system's lock belongs to the open file that took it, so that
// the process number may be written through another one. A lock of fcntl ends when any
// descriptor of the file is closed, and one of Windows forbids the write.
const lockOfFile = true
