// Package machine finds out what the operating system lets this process have:
// how many file descriptors it may open, and how much memory it may take before
// the kernel ends it.
//
// It changes nothing but the soft limit of descriptors, and reads files of /proc
// and /sys only. What it can't find out is reported as not known.
package machine
