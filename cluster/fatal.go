package cluster

import (
	"log/slog"
	"sync"
)

// fatal latches the first reason why a node must stop. Libraries never end
// the process: whoever opened the node watches done and decides.
type fatal struct {
	log  *slog.Logger
	done chan struct{} // closed once err is set
	once sync.Once
	err  error // written before done is closed, read after
}

func newFatal(log *slog.Logger) *fatal {
	return &fatal{log: log, done: make(chan struct{})}
}

// fail records why the node must stop; only the first reason counts.
func (f *fatal) fail(err error) {
	f.once.Do(func() {
		f.log.Error("node stops", "err", err)
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
