// Package machine finds the limits that the operating system sets for this process: the
// number of file descriptors that it may open, and the memory that it may take before
// the kernel ends it.
//
// It reads only files of /proc and /sys. It changes only the soft limit of descriptors. A
// limit that it can't find is ErrUnknown.
package machine
