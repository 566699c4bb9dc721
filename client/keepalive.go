package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/kvorum/kvorum/internal/api"
	"github.com/kvorum/kvorum/kv"
)

const (
	// keepAliveShare is the part of a lease's time to live after which it is kept alive again,
	// and in which all endpoints are tried.
	keepAliveShare = 3
	// maxKeepAlivePause is the maximum pause after all endpoints have refused a keep-alive.
	maxKeepAlivePause = 500 * time.Millisecond
)

// ErrLeaseLost is matched by the cause with which the context of a KeepAlive ends if the lease
// has ended, or may have.
var ErrLeaseLost = errors.New("the lease is lost")

// KeepAlive keeps a lease alive by itself, through whichever endpoint answers: after each third of
// its time to live. It returns once the lease was kept alive the first time. If there is no such
// lease, the error matches kv.ErrLeaseNotFound.
//
// The context held is made of ctx. It ends when the lease is lost: a node says that there is no
// such lease, or none has answered for the whole time to live. Its cause (context.Cause) then
// matches ErrLeaseLost, and kv.ErrLeaseNotFound in the first case. Until then the lease has not
// ended, as far as the clocks of the caller and of the cluster's leader run equally fast and
// nobody has revoked it. So work that needs the lease is done under held.
//
// The lease is kept alive until ctx ends or stop is called, which waits for the end. After that it
// lives for its time to live, unless it is revoked. The caller calls stop, which may be called
// several times.
func (c *Client) KeepAlive(ctx context.Context, id kv.LeaseID) (held context.Context, stop func(), err error) {
	k := leaseKeeper{id: id, timeout: c.timeout, once: func(ctx context.Context, d time.Duration) (time.Duration, error) {
		return c.keepAliveOnce(ctx, d, id)
	}}
	return k.keep(ctx)
}

// leaseKeeper keeps one lease alive.
type leaseKeeper struct {
	id      kv.LeaseID
	timeout time.Duration // maximum of one call
	// once keeps the lease alive once, within a time, and returns its time to live.
	once  func(context.Context, time.Duration) (time.Duration, error)
	ttl   time.Duration
	began time.Time // when the last keep-alive began that has succeeded
}

// keep is KeepAlive.
func (k *leaseKeeper) keep(ctx context.Context) (held context.Context, stop func(), err error) {
	if err := k.renew(ctx, k.timeout); err != nil {
		return nil, nil, err
	}
	held, cancel := context.WithCancelCause(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		cancel(k.run(held))
	}()
	return held, func() { cancel(nil); <-done }, nil
}

// renew keeps the lease alive once, within d.
func (k *leaseKeeper) renew(ctx context.Context, d time.Duration) error {
	began := time.Now()
	ttl, err := k.once(ctx, d)
	if err == nil {
		k.ttl, k.began = ttl, began
	}
	return err
}

// run keeps the lease alive until it is lost, and returns why, or nil once ctx has ended.
func (k *leaseKeeper) run(ctx context.Context) error {
	var failed error // since the last success
	for {
		pause := time.Until(k.began.Add(k.ttl / keepAliveShare))
		if failed != nil {
			pause = min(maxKeepAlivePause, k.ttl/20, k.left())
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil
		}
		if k.left() <= 0 {
			return k.lost(failed)
		}
		failed = k.renew(ctx, min(k.timeout, k.ttl/keepAliveShare, k.left()))
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(failed, kv.ErrLeaseNotFound):
			return k.lost(failed)
		}
	}
}

// left returns how long the lease certainly lives.
func (k *leaseKeeper) left() time.Duration { return time.Until(k.began.Add(k.ttl)) }

// lost returns the error of a lease that was lost because of err, nil for a caller that was too
// late.
func (k *leaseKeeper) lost(err error) error {
	if err == nil {
		err = errors.New("it was not kept alive in time")
	}
	return &leaseLostError{k.id, err}
}

// leaseLostError is an ErrLeaseLost.
type leaseLostError struct {
	id  kv.LeaseID
	err error
}

// Error implements error.
func (e *leaseLostError) Error() string {
	return fmt.Sprintf("the lease %s is lost: %v", api.FormatLease(e.id), e.err)
}

// Is reports that the error is an ErrLeaseLost.
func (e *leaseLostError) Is(target error) bool { return target == ErrLeaseLost }

// Unwrap returns the error of the last keep-alive.
func (e *leaseLostError) Unwrap() error { return e.err }
