package main

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/kvorum/kvorum/cluster"
	"github.com/kvorum/kvorum/httpapi"
	"github.com/kvorum/kvorum/kv"
)

// gate is the node that HTTP serves as soon as its port listens. While the node loads its
// data, gate answers: its status has the progress of loading, and every request gets
// kv.ErrLoading. After open it passes requests to the node. It is safe for concurrent use.
//
//	new ──open──► open        after stop, in either state, the node is not ready
type gate struct {
	id       string
	loading  cluster.Loading
	node     atomic.Pointer[cluster.Node] // nil until open
	stopping atomic.Bool
}

var _ httpapi.Node = (*gate)(nil)

// open passes later requests to node.
func (g *gate) open(node *cluster.Node) { g.node.Store(node) }

// stop makes Ready return kv.ErrClosed.
func (g *gate) stop() { g.stopping.Store(true) }

// opened returns the node, or the error of a request if it is not open.
func (g *gate) opened() (*cluster.Node, error) {
	if node := g.node.Load(); node != nil {
		return node, nil
	}
	if g.stopping.Load() {
		return nil, kv.ErrClosed
	}
	return nil, &kv.LoadingError{Status: g.loading.Status()}
}

// Ready implements kv.Admin.
func (g *gate) Ready() error {
	node, err := g.opened()
	if err != nil {
		return err
	}
	if g.stopping.Load() {
		return kv.ErrClosed
	}
	return node.Ready()
}

// Status implements kv.Admin.
func (g *gate) Status() kv.Status {
	if node := g.node.Load(); node != nil {
		s := node.Status()
		countOpen(s.Descriptors)
		return s
	}
	loading := g.loading.Status()
	return kv.Status{ID: g.id, Role: "loading", Members: []kv.Member{}, Loading: &loading}
}

// Do implements kv.Engine.
func (g *gate) Do(ctx context.Context, request kv.Request) (kv.Response, error) {
	node, err := g.opened()
	if err != nil {
		return kv.Response{}, err
	}
	return node.Do(ctx, request)
}

// Get implements kv.Engine.
func (g *gate) Get(ctx context.Context, key string, options kv.ReadOptions) (kv.ReadResult, error) {
	node, err := g.opened()
	if err != nil {
		return kv.ReadResult{}, err
	}
	return node.Get(ctx, key, options)
}

// View implements kv.Engine.
func (g *gate) View(ctx context.Context, options kv.ReadOptions) (kv.View, error) {
	node, err := g.opened()
	if err != nil {
		return nil, err
	}
	return node.View(ctx, options)
}

// KeepAlive implements kv.Leases.
func (g *gate) KeepAlive(ctx context.Context, id kv.LeaseID) (time.Duration, error) {
	node, err := g.opened()
	if err != nil {
		return 0, err
	}
	return node.KeepAlive(ctx, id)
}

// TimeToLive implements kv.Leases.
func (g *gate) TimeToLive(ctx context.Context, id kv.LeaseID, withKeys bool) (kv.LeaseStatus, error) {
	node, err := g.opened()
	if err != nil {
		return kv.LeaseStatus{}, err
	}
	return node.TimeToLive(ctx, id, withKeys)
}

// Leases implements kv.Leases.
func (g *gate) Leases(ctx context.Context, after kv.LeaseID, limit int) (kv.LeaseList, error) {
	node, err := g.opened()
	if err != nil {
		return kv.LeaseList{}, err
	}
	return node.Leases(ctx, after, limit)
}

// Watch implements kv.Engine.
func (g *gate) Watch(ctx context.Context, options kv.WatchOptions) (kv.Watch, error) {
	node, err := g.opened()
	if err != nil {
		return nil, err
	}
	return node.Watch(ctx, options)
}

// Compact implements kv.Engine.
func (g *gate) Compact(ctx context.Context, revision uint64) (kv.CompactResult, error) {
	node, err := g.opened()
	if err != nil {
		return kv.CompactResult{}, err
	}
	return node.Compact(ctx, revision)
}

// Limits implements kv.Admin.
func (g *gate) Limits() kv.Limits {
	node, err := g.opened()
	if err != nil {
		return kv.Limits{}
	}
	return node.Limits()
}

// Settings implements kv.Admin.
func (g *gate) Settings(ctx context.Context) (kv.Settings, error) {
	node, err := g.opened()
	if err != nil {
		return kv.Settings{}, err
	}
	return node.Settings(ctx)
}

// SetSettings implements kv.Admin.
func (g *gate) SetSettings(ctx context.Context, s kv.Settings) error {
	node, err := g.opened()
	if err != nil {
		return err
	}
	return node.SetSettings(ctx, s)
}

// Join implements kv.Admin.
func (g *gate) Join(ctx context.Context, req kv.JoinRequest) (kv.Member, error) {
	node, err := g.opened()
	if err != nil {
		return kv.Member{}, err
	}
	return node.Join(ctx, req)
}

// Leave implements kv.Admin.
func (g *gate) Leave(ctx context.Context, req kv.LeaveRequest) error {
	node, err := g.opened()
	if err != nil {
		return err
	}
	return node.Leave(ctx, req)
}

// Transfer implements kv.Admin.
func (g *gate) Transfer(ctx context.Context, name string) error {
	node, err := g.opened()
	if err != nil {
		return err
	}
	return node.Transfer(ctx, name)
}

// Snapshot implements kv.Admin.
func (g *gate) Snapshot(ctx context.Context, name string) (kv.SnapshotResult, error) {
	node, err := g.opened()
	if err != nil {
		return kv.SnapshotResult{}, err
	}
	return node.Snapshot(ctx, name)
}
