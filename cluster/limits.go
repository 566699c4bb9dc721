package cluster

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/cluster/replica"
	"github.com/kvorum/kvorum/kv"
)

// limitsTick is the time between two comparisons of the members' configured limits.
const limitsTick = 10 * time.Second

// Limits implements kv.Admin.
func (n *Node) Limits() kv.Limits {
	if _, err := n.joined(); err != nil {
		return n.cfg.limits()
	}
	return n.limits()
}

// limits returns those of requests: the cluster's settings, or the node's configuration. The
// node belongs to a cluster.
func (n *Node) limits() kv.Limits { return n.state.Settings().Limits(n.cfg.limits()) }

// limits returns the configured limits of requests, which apply where the cluster has no
// setting.
func (c Config) limits() kv.Limits {
	return kv.Limits{MaxKeyBytes: c.MaxKeyBytes, MaxValueBytes: c.MaxValueBytes, MaxRequestOps: kv.MaxRequestOps}
}

// checkValueSize refuses settings that allow longer values than a member's memory is divided
// for. A member that does not answer is not counted, nor one of an older build; limitsLoop names
// it once it answers.
func (n *Node) checkValueSize(ctx context.Context, r *replica.Replica, s kv.Settings) error {
	if s.MaxValueBytes == 0 {
		return nil
	}
	for _, m := range memberLimits(ctx, r) {
		if m.MaxValueBytes < s.MaxValueBytes {
			return &kv.ValidationError{
				Field: "max_value_bytes",
				Reason: fmt.Sprintf("is %d, and %s has memory for values of at most %d: start it with a greater --max-value-bytes",
					s.MaxValueBytes, m.ID, m.MaxValueBytes),
			}
		}
	}
	return nil
}

// memberLimits asks all members for their configured limits, and returns those of the ones that
// answer, in the order of their names.
func memberLimits(ctx context.Context, r *replica.Replica) (all []kv.MemberLimits) {
	var ids []raft.ServerID
	for _, s := range r.Servers() {
		ids = append(ids, s.ID)
	}
	slices.Sort(ids)
	answers := r.AskAll(ctx, ids)
	for _, id := range ids {
		if a := answers[id]; a != nil && a.MaxValueBytes != 0 {
			all = append(all, kv.MemberLimits{ID: nameOf(id), MaxKeyBytes: a.MaxKeyBytes, MaxValueBytes: a.MaxValueBytes})
		}
	}
	return all
}

// limitsLoop compares, on a leader, what its members are configured with. It logs each
// difference once, again if it was mended meanwhile, and keeps the newest for Status.
func (n *Node) limitsLoop(ctx context.Context) {
	tick := time.NewTicker(limitsTick)
	defer tick.Stop()
	differ, below := make(loggedLimits), make(loggedLimits)
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		if r, err := n.joined(); err == nil && r.Leading() {
			n.compareLimits(memberLimits(ctx, r), differ, below)
			continue
		}
		n.differ.Store(nil)
		clear(differ)
		clear(below)
	}
}

// compareLimits keeps which of the members that have answered have other limits than this node,
// and logs them, and those that have too little memory for a setting. differ and below have
// what was logged.
func (n *Node) compareLimits(all []kv.MemberLimits, differ, below loggedLimits) {
	own := n.cfg.limits()
	others, fresh := differ.note(all, func(m kv.MemberLimits) bool {
		return m.MaxKeyBytes != own.MaxKeyBytes || m.MaxValueBytes != own.MaxValueBytes
	})
	n.differ.Store(&others)
	if fresh {
		n.log.Warn("members are configured with other limits of requests: where the cluster has no setting, each node has its own",
			"max key bytes", own.MaxKeyBytes, "max value bytes", own.MaxValueBytes, "others", others, "what to do", "docs/limits.md")
	}
	setting := n.state.Settings().MaxValueBytes
	short, fresh := below.note(all, func(m kv.MemberLimits) bool { return m.MaxValueBytes < setting })
	if fresh {
		n.log.Warn("members take longer values than their memory is divided for: restart them with a greater --max-value-bytes, or lower the setting",
			"setting", setting, "members", short, "what to do", "docs/limits.md")
	}
}

// loggedLimits are the members that were logged because of their limits, by name.
type loggedLimits map[string]kv.MemberLimits

// note returns those of the members that have answered that are wrong. It reports whether one
// of them is to be logged: it was right, or otherwise wrong, at its last answer, or has given none.
func (l loggedLimits) note(all []kv.MemberLimits, wrong func(kv.MemberLimits) bool) (found []kv.MemberLimits, fresh bool) {
	for _, m := range all {
		if !wrong(m) {
			delete(l, m.ID)
			continue
		}
		found = append(found, m)
		fresh = fresh || l[m.ID] != m
		l[m.ID] = m
	}
	return found, fresh
}

// limitStatus describes the limits of requests. The node belongs to a cluster.
func (n *Node) limitStatus() *kv.LimitStatus {
	limits := n.limits()
	s := &kv.LimitStatus{MaxKeyBytes: limits.MaxKeyBytes, MaxValueBytes: limits.MaxValueBytes, MaxRequestOps: limits.MaxRequestOps}
	idempotency, used := n.state.Settings().Idempotency.WithDefaults(), n.state.Idempotency()
	s.Idempotency = kv.IdempotencyStatus{
		WindowSeconds: idempotency.Window.Seconds(), MaxKeys: idempotency.MaxKeys, MaxBytes: idempotency.MaxBytes,
		Keys: used.Keys, Bytes: used.Bytes,
	}
	s.Quota = n.state.Quota()
	if differ := n.differ.Load(); differ != nil {
		s.Differ = *differ
	}
	return s
}
