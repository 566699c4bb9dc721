package wal

// cacheOverhead is the memory in bytes that a cached record takes besides its payload.
const cacheOverhead = 32

// cache holds the newest records: consecutive ones, up to the log's last record.
// It is guarded by WAL.mu.
type cache struct {
	max    int64 // bytes
	bytes  int64 // payloads and overhead of frames[oldest:]
	frames []Frame
	oldest int // index in frames of the oldest record kept
}

func frameCost(f Frame) int64 { return int64(len(f.Payload)) + cacheOverhead }

// add appends the log's newest records and drops the oldest beyond max.
func (c *cache) add(frames []Frame) {
	for _, f := range frames {
		c.frames = append(c.frames, f)
		c.bytes += frameCost(f)
	}
	for c.bytes > c.max {
		c.dropOldest()
	}
	// Move down only when at least half is free: each record moves once on average.
	if c.oldest > len(c.frames)/2 {
		n := copy(c.frames, c.frames[c.oldest:])
		clear(c.frames[n:])
		c.frames, c.oldest = c.frames[:n], 0
	}
}

func (c *cache) dropOldest() {
	c.bytes -= frameCost(c.frames[c.oldest])
	c.frames[c.oldest] = Frame{}
	c.oldest++
}

// get returns the record that is the n-th from the end; the last one is n = 1.
func (c *cache) get(n uint64) (Frame, bool) {
	if n > uint64(len(c.frames)-c.oldest) {
		return Frame{}, false
	}
	return c.frames[uint64(len(c.frames))-n], true
}

// keepNewest drops all but the newest n records.
func (c *cache) keepNewest(n uint64) {
	for uint64(len(c.frames)-c.oldest) > n {
		c.dropOldest()
	}
}

// dropNewest drops the newest n records, or all if there are fewer.
func (c *cache) dropNewest(n uint64) {
	for ; n > 0 && len(c.frames) > c.oldest; n-- {
		last := len(c.frames) - 1
		c.bytes -= frameCost(c.frames[last])
		c.frames[last] = Frame{}
		c.frames = c.frames[:last]
	}
}
