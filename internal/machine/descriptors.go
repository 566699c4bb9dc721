package machine

import "errors"

// ErrUnknown is returned if the operating system does not report a limit.
var ErrUnknown = errors.New("the operating system does not tell")

// Descriptors is the limit on the file descriptors of this process.
type Descriptors struct {
	Limit int // maximum number of open descriptors
	// Hard is the maximum to which a process without privileges may raise its limit.
	Hard int
}
