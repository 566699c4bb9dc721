package fsm

import (
	"errors"
	"fmt"
)

// ErrMalformed is returned for bytes that are not what the encoding allows:
// cut short, too long, or damaged.
var ErrMalformed = errors.New("malformed encoding")

// ErrClosed is returned by an FSM that was closed.
var ErrClosed = errors.New("the state machine is closed")

// ErrStaleEntry is the response to a log entry at or below the applied index.
// The entry was not applied (again).
var ErrStaleEntry = errors.New("the entry's index is already applied")

// VersionError is returned for bytes that a newer version of the program wrote:
// their format, or something in them, is not known to this one.
type VersionError struct {
	What      string // what has the version: "command format", "operation", "condition", "snapshot format" and the like
	Version   byte   // the version or value that was found
	Supported byte   // the greatest one that is known
}

// Error implements error.
func (e *VersionError) Error() string {
	return fmt.Sprintf("unknown %s %d (this program knows up to %d)", e.What, e.Version, e.Supported)
}

// EntryError says which log entry can't be applied. It ends the state machine:
// see Config.OnFatal.
type EntryError struct {
	Index uint64
	Term  uint64
	Err   error // a *VersionError, or one that wraps ErrMalformed
}

// Error implements error.
func (e *EntryError) Error() string {
	return fmt.Sprintf("apply entry %d of term %d: %v", e.Index, e.Term, e.Err)
}

// Unwrap returns the reason.
func (e *EntryError) Unwrap() error { return e.Err }
