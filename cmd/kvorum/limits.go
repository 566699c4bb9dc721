package main

import (
	"errors"
	"log/slog"
	"math"

	"github.com/kvorum/kvorum/cluster"
	"github.com/kvorum/kvorum/internal/machine"
	"github.com/kvorum/kvorum/kv"
)

// planDescriptors raises the limit on file descriptors to its maximum, and divides it among
// the parts of a node. It is called before anything is opened, and fails if the limit is
// too low for a node.
func planDescriptors() (cluster.DescriptorPlan, error) {
	limit, err := machine.RaiseDescriptors()
	source := "RLIMIT_NOFILE"
	if errors.Is(err, machine.ErrUnknown) {
		limit.Limit, source, err = math.MaxInt32, "no limit is known", nil
	}
	if err != nil {
		return cluster.DescriptorPlan{}, err
	}
	return cluster.PlanDescriptors(limit.Limit, source)
}

// logLimits logs the node's limits on descriptors and memory, and their sources.
func (o *serverOptions) logLimits(log *slog.Logger) {
	d := o.descriptors
	log.Info("file descriptors", "limit", d.Limit, "source", d.Source, "clients", d.Clients, "peers", d.Peers)
	o.logMemory(log)
}

// countOpen sets the number of the whole process's open descriptors in s, which may be nil.
func countOpen(s *kv.DescriptorStatus) {
	if s == nil {
		return
	}
	if open, err := machine.OpenDescriptors(); err == nil {
		s.Open = open // 0 means that it is not known
	}
}
