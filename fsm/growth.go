package fsm

import "github.com/kvorum/kvorum/internal/wire"

// Growth returns the maximum number of bytes by which requests make the data longer. A key
// counts as its own bytes, those of its value, and perKey bytes. Deletes are not counted,
// because their compares may not hold. The result is negative if values certainly become
// shorter. The facts in requests must be set.
func (f *FSM) Growth(requests wire.Requests, perKey int64) int64 {
	var b batch
	if _, err := f.codec.requests(requests.Version, requests.Count, requests.Data, &b); err != nil {
		return requests.PutBytes + int64(requests.Puts)*perKey // as if all keys were new
	}
	items := f.state.Load().items
	lengths := make(map[string]int64, len(b.ops)) // of keys that were counted, with their values
	growth, ops := int64(0), b.ops
	for _, r := range b.requests {
		for _, o := range ops[:r.ops] {
			if !o.fills {
				continue
			}
			before, counted := lengths[o.key]
			if !counted {
				if old, found := items.Get(o.key); found {
					before = perKey + int64(len(old.Key)+len(old.Value))
				}
			}
			after := perKey + int64(len(o.key)+len(o.value))
			if r.compares > 0 { // if they do not hold, the value remains
				after = max(before, after)
			}
			lengths[o.key] = after
			growth += after - before
		}
		ops = ops[r.ops:]
	}
	return growth
}
