package wire

// Requests are one or more encoded requests, and what those that carry them need to
// know of them. The state machine makes them, and it alone looks into Data.
type Requests struct {
	// Data has the requests, one after the other, each with its length before it. It
	// must not be modified.
	Data  []byte
	Count int // of requests
	// Version is the least command version that can express all of them.
	Version byte
	// Internal says that one of them is the leader's own: nobody else may send it.
	Internal bool
	Puts     int   // operations that need room on disk and in memory
	PutBytes int64 // their keys and values together
}

// Note adds what is known of other requests to what is known of r. Data stays as it is.
func (r *Requests) Note(other Requests) {
	r.Count += other.Count
	r.Version = max(r.Version, other.Version)
	r.Internal = r.Internal || other.Internal
	r.Puts += other.Puts
	r.PutBytes += other.PutBytes
}
