package propose

import (
	"context"

	"github.com/kvorum/kvorum/internal/wire"
)

// Route carries a batch where it belongs. Apply and Forward return as many responses as
// there are requests, one after the other, each with its length before it. Otherwise they
// return an error: one of class kv.ErrUnknownOutcome, or any other for a batch that was
// certainly not done. All methods must be safe for concurrent use.
type Route interface {
	// Leading says whether this node is the leader and has begun its term.
	Leading() bool
	// Supports returns nil if this node, as the leader, may write requests of that
	// command version. Otherwise it is an error of class kv.ErrUnsupported, or ErrAsking
	// where that is not known yet.
	Supports(version byte) error
	// Apply puts a batch into the log as one entry. It is called by one goroutine at a time.
	// An error of its own may be about some of the requests alone: PartialRefusal, and those
	// of Supports.
	Apply(b Batch) ([]byte, error)
	// Forward sends a batch to the leader, if ready, which it asks at the last moment,
	// returns true. If ready returns false, or is not asked, it was not sent.
	Forward(ctx context.Context, b Batch, ready func() bool) ([]byte, error)
}

// PartialRefusal is an error of Route.Apply for a batch that was not done because of some
// of its requests. The others are proposed again.
type PartialRefusal interface {
	error
	// Grows says whether requests alone would be refused: they make the data longer.
	Grows(requests wire.Requests) bool
}

// Batch is the requests of several proposals. They are applied one after the other, and
// each has a response of its own. A Route must not modify it, nor keep it after Apply or
// Forward has returned: the memory is used again.
type Batch struct {
	Facts wire.Requests // of all requests, without Data
	Parts [][]byte      // the Data of each proposal; that of the batch is their concatenation
}

func batchOf(proposals []*proposal) Batch {
	b := Batch{Parts: make([][]byte, len(proposals))}
	for i, pr := range proposals {
		b.Facts.Note(pr.requests)
		b.Parts[i] = pr.requests.Data
	}
	return b
}

// In returns the batch's requests as they are in entry, which ends with them. Their Data is
// a part of entry.
func (b Batch) In(entry []byte) wire.Requests {
	size := 0
	for _, part := range b.Parts {
		size += len(part)
	}
	requests := b.Facts
	requests.Data = entry[len(entry)-size:]
	return requests
}
