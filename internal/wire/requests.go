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
	// Internal means that one of them is the leader's own: no other node may send it.
	Internal bool
	Puts     int   // number of operations that need room on disk and in memory
	PutBytes int64 // size of their keys and values
}

// Note adds the description of other requests to that of r. Data is not changed.
func (r *Requests) Note(other Requests) {
	r.Count += other.Count
	r.Version = max(r.Version, other.Version)
	r.Internal = r.Internal || other.Internal
	r.Puts += other.Puts
	r.PutBytes += other.PutBytes
}

// NeedRoom says whether one of the requests needs room on disk and in memory.
func (r Requests) NeedRoom() bool { return r.Puts > 0 }
