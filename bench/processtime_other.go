//go:build !linux

package main

import (
	"errors"
	"time"
)

// processTime returns an error: it needs Linux.
func processTime() (time.Duration, error) {
	return 0, errors.New("the processor time of a process is known on Linux only")
}
