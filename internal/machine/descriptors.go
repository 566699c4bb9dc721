package machine

import "errors"

// ErrUnknown is returned where the operating system does not tell a limit.
var ErrUnknown = errors.New("the operating system does not tell")

// Descriptors is the limit on the file descriptors of this process.
type Descriptors struct {
	Limit int // that the process may have open
	// Hard is how far a process without privileges may raise its limit.
	Hard int
}
