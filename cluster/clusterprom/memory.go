package clusterprom

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/kvorum/kvorum/cluster"
	"github.com/kvorum/kvorum/kv"
)

// addMemory adds the figures of the node's memory. They are shown only if the node has a
// memory plan or a quota.
func (c *Collector) addMemory(gauge prometheus.ValueType) {
	add := func(name, help string, read func(*kv.MemoryStatus) float64) {
		c.memory = append(c.memory, figure{
			prometheus.NewDesc("kvorum_memory_"+name, help, nil, nil), gauge,
			func(s *cluster.Stats) float64 { return read(s.Memory) },
		})
	}
	add("limit_bytes", "Memory that the process may take.", func(m *kv.MemoryStatus) float64 { return float64(m.Limit) })
	add("heap_limit_bytes", "Memory of that for Go's heap.", func(m *kv.MemoryStatus) float64 { return float64(m.HeapLimit) })
	add("heap_live_bytes", "Heap that the newest collection found in use.", func(m *kv.MemoryStatus) float64 { return float64(m.HeapLive) })
	add("data_bytes", "Memory that keys and values take.", func(m *kv.MemoryStatus) float64 { return float64(m.Data) })
	add("data_limit_bytes", "Memory that keys and values may take, the least of all voters.", func(m *kv.MemoryStatus) float64 { return float64(m.DataLimit) })
	add("quota_bytes", "Bytes that keys and values may have; 0 for no quota.", func(m *kv.MemoryStatus) float64 { return float64(m.Quota) })
	add("full", "Whether puts are refused because of memory or the quota.", func(m *kv.MemoryStatus) float64 { return truth(m.Full) })
	add("bodies_limit_bytes", "Bytes that the bodies of HTTP requests in flight may take.", func(m *kv.MemoryStatus) float64 { return float64(m.Bodies) })
}
