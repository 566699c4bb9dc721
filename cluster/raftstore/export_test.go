package raftstore

// The errors by which tests tell refusals apart.
var (
	ErrLogGap             = errLogGap
	ErrLogDelete          = errLogDelete
	ErrLogHole            = errLogHole
	ErrSnapshotSuperseded = errSnapshotSuperseded
	ErrSnapshotCancelled  = errSnapshotCancelled
	ErrBallotRefused      = errBallotRefused
)
