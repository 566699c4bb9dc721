package wire

// Requests are one or more encoded requests, with a description for packages that pass them
// on. The state machine makes them, and only the state machine decodes Data.
type Requests struct {
	// Data has the requests, one after the other, each preceded by its length. It must
	// not be modified.
	Data  []byte
	Count int // number of requests
	// Version is the lowest command version that can express all of them.
	Version byte
	// Keyed is the number of requests with an idempotency key, which may be sent again.
	Keyed int
	// Internal means that one of them is the leader's own: no other node may send it.
	Internal bool
	Puts     int   // number of operations that need room on disk and in memory
	Appends  int   // those of them that write a value again which only the state has
	PutBytes int64 // size of their keys, values and attributes, without what appends write again
}

// Note adds the description of other requests to that of r. Data is not changed.
func (r *Requests) Note(other Requests) {
	r.Count += other.Count
	r.Version = max(r.Version, other.Version)
	r.Keyed += other.Keyed
	r.Internal = r.Internal || other.Internal
	r.Puts += other.Puts
	r.Appends += other.Appends
	r.PutBytes += other.PutBytes
}

// Repeatable says whether all requests may be sent again when their outcome is unknown.
func (r Requests) Repeatable() bool { return r.Count > 0 && r.Keyed == r.Count }

// NeedRoom says whether one of the requests needs room on disk and in memory.
func (r Requests) NeedRoom() bool { return r.Puts > 0 }
