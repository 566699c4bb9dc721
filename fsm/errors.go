package fsm

import (
	"errors"
	"fmt"

	"github.com/kvorum/kvorum/internal/wire"
	"github.com/kvorum/kvorum/kv"
)

// ErrMalformed is returned for bytes that do not follow the format: they are cut short, too
// long, or damaged.
var ErrMalformed = wire.ErrMalformed

// ErrClosed is returned by an FSM that was closed.
var ErrClosed = errors.New("the state machine is closed")

// ErrStaleEntry is the response to a log entry at or below the applied index.
// The entry was not applied (again).
var ErrStaleEntry = errors.New("the entry's index is already applied")

// VersionError is returned for bytes of another version of the program: this version does
// not know their format or a part of them. It is of class kv.ErrUnsupported.
type VersionError struct {
	What      string // the unknown thing: "entry format", "command version", "operation 0x7" and the like
	Version   byte   // the version that was found, or is needed; 0 if that is not known
	Supported byte   // the newest known version
}

// Error implements error.
func (e *VersionError) Error() string {
	if e.Version == 0 {
		return fmt.Sprintf("%s is not known (this program knows command versions up to %d)", e.What, e.Supported)
	}
	if e.Version < e.Supported {
		return fmt.Sprintf("%s %d is too old (this program reads %d)", e.What, e.Version, e.Supported)
	}
	return fmt.Sprintf("%s %d is not known (this program knows up to %d)", e.What, e.Version, e.Supported)
}

// Is reports that the error is of class kv.ErrUnsupported.
func (e *VersionError) Is(target error) bool { return target == kv.ErrUnsupported }

// EntryError is the reason why a log entry can't be applied. It stops the state machine;
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
