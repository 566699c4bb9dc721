package omap

// Item is a key with its value and what is known about both. Items are immutable
// once they are in a Map: a change puts a new Item in the old one's place. So
// a reader may keep the Value that it was given, and must not modify it.
type Item struct {
	Key            string
	Value          []byte
	CreateRevision uint64 // revision of the write that made the key
	ModRevision    uint64 // revision of its last change
	Version        uint64 // number of changes since it was made, from 1
	Deadline       int64  // when it expires, in nanoseconds since the Unix epoch; 0 for never
	Created        int64  // when the key was made, likewise; 0 where that is not kept
	Updated        int64  // when it was last changed, likewise
}

// Expired says whether the Item's deadline has been reached at now, which is in
// nanoseconds since the Unix epoch.
func (it *Item) Expired(now int64) bool { return it.Deadline != 0 && it.Deadline <= now }
