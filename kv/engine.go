package kv

import "context"

// Engine carries out requests and reads. All methods are safe for concurrent use, honour
// the context, and return errors that [Classify] knows.
type Engine interface {
	// Do carries out one replicated request. If it returns an error, nothing was done, or
	// the outcome is unknown. A request that can't change anything, see Request.ReadOnly, is
	// a linearizable read at one revision.
	Do(ctx context.Context, r Request) (Response, error)
	// Get reads one key as options say. An absent key is a result, not an error. It takes
	// less time than View, because a read of one key needs no frozen copy.
	Get(ctx context.Context, key string, options ReadOptions) (ReadResult, error)
	// View returns a view of all keys as options say, which the caller closes. The view
	// remains valid after ctx has ended.
	View(ctx context.Context, options ReadOptions) (View, error)
	// Watch returns the changes of keys as options say. The caller closes it. The watch
	// continues after ctx has ended.
	Watch(ctx context.Context, options WatchOptions) (Watch, error)
	// Compact drops the history before revision: it becomes the oldest revision that can
	// be read. The error is a *CompactedError if it is not above the present one, and a
	// *FutureError if the store has not reached it.
	Compact(ctx context.Context, revision uint64) (CompactResult, error)
}

// Admin describes and changes the cluster that a node is in. All methods are safe for
// concurrent use.
type Admin interface {
	// Status describes the node.
	Status() Status
	// Ready returns nil when the node can serve linearizable requests, otherwise why it can't.
	Ready() error
	// Join adds a running node that is in no cluster yet.
	Join(ctx context.Context, request JoinRequest) (Member, error)
	// Leave removes a member.
	Leave(ctx context.Context, request LeaveRequest) error
	// Transfer hands leadership to the named voter; "" means any voter that is ready.
	Transfer(ctx context.Context, name string) error
	// Snapshot makes the named member take a snapshot and drop the log that it covers; ""
	// means this node.
	Snapshot(ctx context.Context, name string) (SnapshotResult, error)
	// Limits returns the limits of requests that apply at the node now, without a wait.
	Limits() Limits
	// Settings returns the settings of the cluster, as a linearizable read.
	Settings(ctx context.Context) (Settings, error)
	// SetSettings replaces all settings of the cluster.
	SetSettings(ctx context.Context, s Settings) error
}
