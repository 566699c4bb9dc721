package replica

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/kvorum/kvorum/kv"
)

// Fatal keeps the first reason why a node must stop. A node and its replica share one. It
// never ends the process: the node's owner waits for Done, and decides. It is safe for
// concurrent use.
type Fatal struct {
	log  *slog.Logger
	done chan struct{} // closed once err is set
	once sync.Once
	err  error // written before done is closed, read after
}

// NewFatal returns a Fatal without a reason. It logs the first one.
func NewFatal(log *slog.Logger) *Fatal {
	return &Fatal{log: log, done: make(chan struct{})}
}

// Fail records why the node must stop; only the first reason counts. If the node has
// left its cluster as it was told to, this is no error.
func (f *Fatal) Fail(err error) {
	f.once.Do(func() {
		level := slog.LevelError
		if Left(err) {
			level = slog.LevelInfo
		}
		f.log.Log(context.Background(), level, "node stops", "err", err)
		f.err = err
		close(f.done)
	})
}

// Done is closed once there is a reason.
func (f *Fatal) Done() <-chan struct{} { return f.done }

// Reason returns the argument of the first Fail, nil before.
func (f *Fatal) Reason() error {
	select {
	case <-f.done:
		return f.err
	default:
		return nil
	}
}

// RemovedError is the reason of a node that finds its data directory to be a removed
// member's: nobody has told it while it ran. It is a kv.ErrRemoved, and returns at each start
// on that directory.
type RemovedError struct {
	Name    string // of the node
	DataDir string
}

// Error implements error.
func (e *RemovedError) Error() string {
	return fmt.Sprintf("node %s was removed from its cluster; to have it join again, empty its data directory %s", e.Name, e.DataDir)
}

// Is says that the error is a kv.ErrRemoved.
func (e *RemovedError) Is(target error) bool { return target == kv.ErrRemoved }

// Left reports whether a node that stopped for this reason has left its cluster just
// now, as it was told to. A node that only finds that it was removed has not.
func Left(reason error) bool {
	var removed *RemovedError
	return errors.Is(reason, kv.ErrRemoved) && !errors.As(reason, &removed)
}
