package cluster

import (
	"context"
	"errors"

	"github.com/kvorum/kvorum/kv"
)

// Watch implements kv.Engine on this node's state. A watch that begins with the present state
// waits as a read does until it may. Its errors are those of a read, a *kv.CompactedError,
// and kv.ErrUnsupported while the state keeps no history. The watch waits while the node loads
// a snapshot of the leader's, and continues with its state.
func (n *Node) Watch(ctx context.Context, options kv.WatchOptions) (kv.Watch, error) {
	if err := options.Validate(); err != nil {
		return nil, err
	}
	begin := kv.ReadOptions{Level: options.Level, MinRevision: options.MinRevision}
	if options.From != 0 {
		begin = kv.ReadOptions{Level: kv.Stale} // it waits for its first revision itself
	}
	ready := n.Ready() == nil
	watch, err := n.watchFrom(ctx, begin, options)
	if !ready && errors.Is(err, kv.ErrUnsupported) {
		// A node that has just started knows of no history until it has applied its log.
		begin.Level = kv.Linearizable
		watch, err = n.watchFrom(ctx, begin, options)
	}
	return watch, err
}

// watchFrom begins a watch once this node's state may be read as begin says.
func (n *Node) watchFrom(ctx context.Context, begin kv.ReadOptions, options kv.WatchOptions) (kv.Watch, error) {
	read, err := n.beginRead(ctx, begin)
	if err != nil {
		return nil, err
	}
	watch, err := n.state.Watch(options)
	if gone := read.End(); gone != nil { // first: an error may be that of a state without keys
		if err == nil {
			_ = watch.Close() // always nil
		}
		return nil, gone
	}
	if err != nil {
		return nil, err
	}
	return watch, nil
}
