//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package dirlock

import (
	"errors"
	"os"
)

// flockFile refuses: two processes on one data directory would destroy it, so
// a system without flock runs no node.
func flockFile(*os.File) error { return errors.ErrUnsupported }

// shareFile refuses likewise.
func shareFile(*os.File) error { return errors.ErrUnsupported }
