package main

import (
	"errors"
	"log/slog"
	"math"
	"os"
	"runtime/debug"

	"github.com/kvorum/kvorum/cluster"
	"github.com/kvorum/kvorum/internal/machine"
)

// planMemory finds out how much memory the process may take, divides that among the
// parts of a node, and has Go's runtime stay below its share. The limit is the least of
// --memory-limit-bytes, GOMEMLIMIT, those of the control group and its parents, and
// the machine's memory. It fails where that is too little to run.
func (o *serverOptions) planMemory() (cluster.MemoryPlan, error) {
	limit, err := machine.FindMemory(os.DirFS("/"))
	if errors.Is(err, machine.ErrUnknown) {
		limit, err = machine.Memory{Bytes: math.MaxInt64, Source: "no limit is known"}, nil
	}
	if err != nil {
		return cluster.MemoryPlan{}, err
	}
	if o.memoryLimitBytes > 0 && o.memoryLimitBytes <= limit.Bytes {
		limit = machine.Memory{Bytes: o.memoryLimitBytes, Source: "--memory-limit-bytes"}
	}
	runtimeLimit := debug.SetMemoryLimit(-1) // GOMEMLIMIT, where that is set
	if runtimeLimit < limit.Bytes {
		limit = machine.Memory{Bytes: runtimeLimit, Source: "GOMEMLIMIT"}
	}
	if limit.Bytes == math.MaxInt64 {
		return cluster.MemoryPlan{}, nil
	}
	plan, err := cluster.PlanMemory(limit.Bytes, limit.Source, o.maxValueBytes)
	if err != nil {
		return cluster.MemoryPlan{}, err
	}
	if limit.Source != "GOMEMLIMIT" && plan.Heap < runtimeLimit {
		debug.SetMemoryLimit(plan.Heap)
	}
	return plan, nil
}

// planLimits sets what the node may take of the machine.
func (o *serverOptions) planLimits() (err error) {
	if o.descriptors, err = planDescriptors(); err != nil {
		return err
	}
	o.memory, err = o.planMemory()
	return err
}

// maxConns returns how many HTTP connections may be open.
func (o *serverOptions) maxConns() int {
	if o.memory.Limit == 0 {
		return o.descriptors.Clients
	}
	return min(o.descriptors.Clients, o.memory.Connections)
}

// logMemory says in the log how much memory the node may take, and why.
func (o *serverOptions) logMemory(log *slog.Logger) {
	if m := o.memory; m.Limit != 0 {
		log.Info("memory", "limit", m.Limit, "source", m.Source, "heap", m.Heap, "data", m.Data, "bodies", m.Bodies, "quota", o.maxDataBytes)
	}
}
