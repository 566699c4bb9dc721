package fsm

import (
	"io"

	"github.com/kvorum/kvorum/internal/wire"
)

// The functions of this package as methods, for users that know a state machine only by an
// interface.

// AppendEntry is the function AppendEntry.
func (*FSM) AppendEntry(dst []byte, clock int64, version byte, count int, parts ...[]byte) []byte {
	return AppendEntry(dst, clock, version, count, parts...)
}

// ClockRequest is the function ClockRequest.
func (*FSM) ClockRequest() wire.Requests { return ClockRequest() }

// RetireRequest is the function RetireRequest.
func (*FSM) RetireRequest(id string) wire.Requests { return RetireRequest(id) }

// CheckpointRequest is the function CheckpointRequest.
func (*FSM) CheckpointRequest() wire.Requests { return CheckpointRequest() }

// SnapshotItems is the function SnapshotItems.
func (*FSM) SnapshotItems(r io.Reader) (uint64, error) { return SnapshotItems(r) }
