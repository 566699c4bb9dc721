package fsm

import (
	"io"

	"github.com/kvorum/kvorum/internal/wire"
	"github.com/kvorum/kvorum/kv"
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

// HistoryRequest is the function HistoryRequest.
func (*FSM) HistoryRequest() wire.Requests { return HistoryRequest() }

// CompactAllRequest is the function CompactAllRequest.
func (*FSM) CompactAllRequest() wire.Requests { return CompactAllRequest() }

// CompactRequest is the function CompactRequest.
func (*FSM) CompactRequest(revision uint64) wire.Requests { return CompactRequest(revision) }

// ExpireRequest is the function ExpireRequest.
func (*FSM) ExpireRequest() wire.Requests { return ExpireRequest() }

// ExpireLeasesRequest is the function ExpireLeasesRequest.
func (*FSM) ExpireLeasesRequest(term, granted uint64, ids []kv.LeaseID) wire.Requests {
	return ExpireLeasesRequest(term, granted, ids)
}

// SettingsRequest is the function SettingsRequest.
func (*FSM) SettingsRequest(s kv.Settings) wire.Requests { return SettingsRequest(s) }

// SnapshotItems is the function SnapshotItems.
func (*FSM) SnapshotItems(r io.Reader) (keys, revisions uint64, err error) { return SnapshotItems(r) }
