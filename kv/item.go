package kv

// Item is a key with its value, its revisions and its attributes. It is immutable: a change
// of the key makes another Item.
type Item struct {
	Key            string
	Value          []byte // must not be modified
	CreateRevision uint64 // of the write that made the key
	ModRevision    uint64 // of its last change
	Version        uint64 // number of changes since the key was made; 1 after the first
	// Lease is the one that the key is attached to, 0 for none. The key is deleted when the
	// lease ends.
	Lease LeaseID
	// Deadline is the time at which the key expires, in milliseconds of the cluster clock
	// since the Unix epoch, 0 for never. Reads of the newest state don't see the key once the
	// clock has reached it. The key is deleted soon after that, at a revision of its own.
	Deadline int64
	// Flags is a number of the client's, which Kvorum stores and does not interpret.
	Flags uint32
	// ContentType is the media type of the value, at most MaxContentTypeBytes bytes, "" for
	// none.
	ContentType string
}

// MaxContentTypeBytes is the maximum length of a ContentType.
const MaxContentTypeBytes = 255
