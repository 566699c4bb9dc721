package api

import (
	"io"

	"github.com/kvorum/kvorum/kv"
)

// Ops of the lines of a watch that are no changes.
const (
	LineState  = "state"  // a key of the state with which a watch begins
	LineSynced = "synced" // the state is whole
)

// WriteEventLine writes a change as a line: its revision, its op, and the members of a list's
// line. The line is partial if a later line has a change of the same revision. A key that was
// deleted has no value.
func WriteEventLine(w io.Writer, revision uint64, e kv.Event, partial bool) error {
	line := newEventLine(revision, e.Kind.String())
	line.Partial = partial
	if line.item(e.Item, e.Kind != kv.EventPut); e.Kind != kv.EventPut {
		line.CreateRevision, line.Version = 0, 0
	}
	if e.Prev != nil {
		prev := newEventLine(0, "")
		prev.item(*e.Prev, false)
		line.Prev = prev
	}
	return writeLine(w, line)
}

// WriteStateLine writes a key of the state with which a watch begins.
func WriteStateLine(w io.Writer, revision uint64, it kv.Item) error {
	line := newEventLine(revision, LineState)
	line.item(it, false)
	return writeLine(w, line)
}

// WriteMarkLine writes a line without a key.
func WriteMarkLine(w io.Writer, revision uint64, op string) error {
	return writeLine(w, newEventLine(revision, op))
}

// eventLine is the JSON of a line of a watch.
type eventLine struct {
	Revision uint64 `json:"revision,omitempty"`
	Op       string `json:"op,omitempty"`
	Partial  bool   `json:"partial,omitempty"` // a later line has a change of the same revision
	Line
	CreateRevision uint64     `json:"create_revision,omitempty"`
	ModRevision    uint64     `json:"mod_revision,omitempty"`
	Version        uint64     `json:"version,omitempty"`
	Lease          LeaseID    `json:"lease,omitempty"`
	Prev           *eventLine `json:"prev,omitempty"`
}

func newEventLine(revision uint64, op string) *eventLine {
	return &eventLine{Revision: revision, Op: op}
}

// item sets the members of a key.
func (l *eventLine) item(it kv.Item, keysOnly bool) {
	l.Line = newLine(it, keysOnly)
	l.CreateRevision, l.ModRevision, l.Version, l.Lease = it.CreateRevision, it.ModRevision, it.Version, LeaseID(it.Lease)
}
