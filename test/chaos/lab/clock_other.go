//go:build linux && !amd64

package lab

import "time"

// skewCode returns nil: there is no code for this processor.
func skewCode(time.Duration) []byte { return nil }
