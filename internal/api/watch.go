package api

import (
	"encoding/json"
	"fmt"
	"unicode/utf8"

	"github.com/kvorum/kvorum/kv"
)

// Types of the messages of GET /watch.
const (
	WatchStart     = "start"
	WatchState     = "state"
	WatchSynced    = "synced"
	WatchChanges   = "changes"
	WatchProgress  = "progress"
	WatchWaiting   = "waiting"
	WatchCompacted = "compacted"
	WatchEnd       = "end"
)

// WatchMessage is a message of GET /watch.
type WatchMessage struct {
	Type            string
	Revision        uint64
	Items           []kv.Item  // of state
	Events          []kv.Event // of changes
	Partial         bool       // of changes: more of the revision follow
	CompactRevision uint64     // of compacted
	Code            kv.Code    // of end
	Retryable       bool       // of end
	Detail          string     // of end
}

// watchMessage is the JSON of a message.
type watchMessage struct {
	Type            string       `json:"type"`
	Revision        uint64       `json:"revision"`
	Items           []ListLine   `json:"items"`
	Events          []watchEvent `json:"events"`
	Partial         bool         `json:"partial"`
	CompactRevision uint64       `json:"compact_revision"`
	Code            kv.Code      `json:"code"`
	Retryable       bool         `json:"retryable"`
	Detail          string       `json:"detail"`
}

// watchEvent is the JSON of a change.
type watchEvent struct {
	ListLine
	Op   string    `json:"op"`
	Prev *ListLine `json:"prev"`
}

// ParseWatchMessage reads a message. It ignores unknown members; the caller ignores messages of
// an unknown type.
func ParseWatchMessage(line []byte) (WatchMessage, error) {
	if !utf8.Valid(line) {
		return WatchMessage{}, errNotUTF8
	}
	var j watchMessage
	if err := json.Unmarshal(line, &j); err != nil {
		return WatchMessage{}, err
	}
	m := WatchMessage{
		Type: j.Type, Revision: j.Revision, Partial: j.Partial,
		CompactRevision: j.CompactRevision, Code: j.Code, Retryable: j.Retryable, Detail: j.Detail,
	}
	for i := range j.Items {
		item, err := j.Items[i].listed(false)
		if err != nil {
			return m, fmt.Errorf("items[%d]: %w", i, err)
		}
		m.Items = append(m.Items, item)
	}
	for i := range j.Events {
		event, err := j.Events[i].event()
		if err != nil {
			return m, fmt.Errorf("events[%d]: %w", i, err)
		}
		m.Events = append(m.Events, event)
	}
	return m, nil
}

// event returns the change.
func (j *watchEvent) event() (e kv.Event, err error) {
	kind, known := kv.EventKindOf(j.Op)
	if !known {
		return e, fmt.Errorf("op %.20q is unknown", j.Op)
	}
	if e.Kind = kind; kind == kv.EventPut {
		e.Item, err = j.listed(false)
	} else {
		e.Item, err = j.listed(true)
	}
	if err == nil && j.Prev != nil {
		var prev kv.Item
		prev, err = j.Prev.listed(false)
		e.Prev = &prev
	}
	return e, err
}
