package main

import (
	"errors"
	"log/slog"
	"math"

	"github.com/kvorum/kvorum/cluster"
	"github.com/kvorum/kvorum/internal/machine"
	"github.com/kvorum/kvorum/kv"
)

// planDescriptors raises the limit on file descriptors as far as it may be raised,
// and divides it among the parts of a node. It is called before anything is opened,
// and fails where the limit is too low to run.
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

// logLimits says in the log what the node may take of the machine, and why.
func (o *serverOptions) logLimits(log *slog.Logger) {
	d := o.descriptors
	log.Info("file descriptors", "limit", d.Limit, "source", d.Source, "clients", d.Clients, "peers", d.Peers)
	o.logMemory(log)
}

// countOpen completes s, which may be nil, with what the whole process has open.
func countOpen(s *kv.DescriptorStatus) {
	if s == nil {
		return
	}
	if open, err := machine.OpenDescriptors(); err == nil {
		s.Open = open // where it is not known, 0 says so
	}
}
