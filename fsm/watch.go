package fsm

import (
	"fmt"

	"github.com/kvorum/kvorum/fsm/watch"
	"github.com/kvorum/kvorum/kv"
)

// Watch begins a watch with the present state; Level and MinRevision of the options are for
// the caller. The watch continues when a Restore replaces the state. Until LetGo is followed
// by a Restore, it waits. The caller closes it. The error is a *kv.ValidationError, a
// *kv.CompactedError, kv.ErrUnsupported while the state keeps no history, kv.ErrBehind after
// LetGo, and kv.ErrClosed.
func (f *FSM) Watch(options kv.WatchOptions) (*watch.Watch, error) {
	f.use()
	if !f.History() {
		return nil, fmt.Errorf("%w: the history has not begun, which every member must keep", kv.ErrUnsupported)
	}
	return f.hub.Watch(options)
}
