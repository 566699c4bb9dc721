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

// planMemory finds the process's limit on memory, divides it among the parts of a node, and
// sets the limit of Go's runtime to its share. The limit is the lowest of
// --memory-limit-bytes, GOMEMLIMIT, those of the control group and its parents, and the
// machine's memory. planMemory fails if that is too little for a node.
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
	runtimeLimit := debug.SetMemoryLimit(-1) // GOMEMLIMIT, if that is set
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

// planLimits sets the node's limits on descriptors and memory.
func (o *serverOptions) planLimits() (err error) {
	if o.descriptors, err = planDescriptors(); err != nil {
		return err
	}
	o.memory, err = o.planMemory()
	return err
}

// maxConns returns the maximum number of open HTTP connections.
func (o *serverOptions) maxConns() int {
	if o.memory.Limit == 0 {
		return o.descriptors.Clients
	}
	return min(o.descriptors.Clients, o.memory.Connections)
}

// logMemory logs the node's limit on memory, its source and its parts.
func (o *serverOptions) logMemory(log *slog.Logger) {
	if m := o.memory; m.Limit != 0 {
		log.Info("memory", "limit", m.Limit, "source", m.Source, "heap", m.Heap, "data", m.Data, "bodies", m.Bodies, "quota", o.maxDataBytes)
	}
}
