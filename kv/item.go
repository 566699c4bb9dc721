package kv

// Item is a key with its value and its revisions. It is immutable: a change of the key
// makes another Item.
type Item struct {
	Key            string
	Value          []byte // must not be modified
	CreateRevision uint64 // of the write that made the key
	ModRevision    uint64 // of its last change
	Version        uint64 // number of changes since the key was made; 1 after the first
}
