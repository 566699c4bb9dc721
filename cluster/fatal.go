package cluster

import (
	"context"
	"errors"
	"log/slog"
	"sync"

	"github.com/kvorum/kvorum/kv"
)

// fatal latches the first reason why a node must stop. Libraries never end
// the process: the owner of the node watches done and decides.
type fatal struct {
	log  *slog.Logger
	done chan struct{} // closed once err is set
	once sync.Once
	err  error // written before done is closed, read after
}

func newFatal(log *slog.Logger) *fatal {
	return &fatal{log: log, done: make(chan struct{})}
}

// fail records why the node must stop; only the first reason counts. That it has
// left its cluster, as it was told to, is no error.
func (f *fatal) fail(err error) {
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

// reason returns what fail was given, nil before.
func (f *fatal) reason() error {
	select {
	case <-f.done:
		return f.err
	default:
		return nil
	}
}

// Left says whether a node that stopped for this reason has left its cluster just
// now, as it was told to. One that only finds that it was removed has not.
func Left(reason error) bool {
	var removed *RemovedError
	return errors.Is(reason, kv.ErrRemoved) && !errors.As(reason, &removed)
}
