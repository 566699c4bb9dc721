package fsm

import "github.com/kvorum/kvorum/internal/wire"

// Growth returns by how many bytes requests, of which all is known, make the data longer
// at most, where a key counts perKey bytes beside its own and its value's. Deletes count
// as nothing, because their compares may not hold. It is negative where values certainly
// become shorter.
func (f *FSM) Growth(requests wire.Requests, perKey int64) int64 {
	var b batch
	if _, err := f.codec.requests(requests.Version, requests.Count, requests.Data, &b); err != nil {
		return requests.PutBytes + int64(requests.Puts)*perKey // as if all were new
	}
	items := f.state.Load().items
	lengths := make(map[string]int64, len(b.ops)) // of keys with values, by what was counted
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
			if r.compares > 0 { // they may not hold, and the value stay
				after = max(before, after)
			}
			lengths[o.key] = after
			growth += after - before
		}
		ops = ops[r.ops:]
	}
	return growth
}
