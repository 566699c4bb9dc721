package store

// Item is the compact form in which shards hold a key. Items are immutable
// once they are in a map: a change puts a new Item in the old one's place, so
// a reader may keep the value that it was given, and must not modify it.
type Item struct {
	Key            string
	Value          []byte
	CreateRevision uint64 // revision of the write that made the key
	ModRevision    uint64 // revision of its last change
	Version        uint64 // number of changes since it was made, from 1
}
