package omap

// Item is a key with its value, revisions and times. Items are immutable once they are in a
// Map: a change replaces the Item by a new one. So a reader may keep the Value that it got,
// and must not modify it.
type Item struct {
	Key            string
	Value          []byte
	CreateRevision uint64 // revision of the write that made the key
	ModRevision    uint64 // revision of its last change
	Version        uint64 // number of changes since it was made, from 1
	Deadline       int64  // time of its expiry, in nanoseconds since the Unix epoch; 0 for never
	Created        int64  // time at which the key was made, in the same unit; 0 if it is not kept
	Updated        int64  // time of its last change, in the same unit; 0 if it is not kept
}

// Expired reports whether the Item's deadline has been reached at now, which is in
// nanoseconds since the Unix epoch.
func (it *Item) Expired(now int64) bool { return it.Deadline != 0 && it.Deadline <= now }
