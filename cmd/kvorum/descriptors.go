package main

import (
	"errors"
	"log/slog"
	"math"

	"github.com/kvorum/kvorum/cluster"
	"github.com/kvorum/kvorum/internal/machine"
)

// planDescriptors raises the limit on file descriptors as far as it may be raised,
// divides it among the parts of a node, and says so in the log. It is called
// before anything is opened, and fails where the limit is too low to run.
func planDescriptors(log *slog.Logger) (cluster.DescriptorPlan, error) {
	limit, err := machine.RaiseDescriptors()
	source := "RLIMIT_NOFILE"
	if errors.Is(err, machine.ErrUnknown) {
		limit.Limit, source, err = math.MaxInt32, "no limit is known", nil
	}
	if err != nil {
		return cluster.DescriptorPlan{}, err
	}
	plan, err := cluster.PlanDescriptors(limit.Limit, source)
	if err != nil {
		return cluster.DescriptorPlan{}, err
	}
	log.Info("file descriptors", "limit", plan.Limit, "source", plan.Source, "clients", plan.Clients, "peers", plan.Peers)
	return plan, nil
}

// countOpen completes s, which may be nil, with what the whole process has open.
func countOpen(s *cluster.DescriptorStatus) {
	if s == nil {
		return
	}
	if open, err := machine.OpenDescriptors(); err == nil {
		s.Open = open // where it is not known, 0 says so
	}
}
