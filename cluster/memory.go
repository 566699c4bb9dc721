package cluster

import (
	"github.com/kvorum/kvorum/cluster/propose"
	"github.com/kvorum/kvorum/cluster/replica"
	"github.com/kvorum/kvorum/cluster/room"
)

// MemoryPlan divides the memory that a process may take among the parts of a node.
// The zero value is no plan: the parts have their defaults, and nothing is refused
// because of memory.
type MemoryPlan = room.MemoryPlan

// PlanMemory divides limit, which source sets, for a node with values of at most
// maxValueBytes. If that is too little, it fails with an error that names the minimum.
func PlanMemory(limit int64, source string, maxValueBytes int) (MemoryPlan, error) {
	return room.PlanMemory(limit, source, partLimits(maxValueBytes))
}

// partLimits returns the greatest sizes that the parts of a node may have.
func partLimits(maxValueBytes int) room.Limits {
	return room.Limits{
		ValueBytes: maxValueBytes, BatchBytes: propose.MaxBatchBytes, AppendEntries: replica.MaxAppendEntries, Connections: maxClientDescriptors,
	}
}
