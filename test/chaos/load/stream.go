package load

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/kvorum/kvorum/test/history"
)

// Stream is a stream of a watch. It belongs to one goroutine.
type Stream struct {
	body  io.ReadCloser
	lines *bufio.Reader
}

// Message is a message of a watch.
type Message struct {
	Type     string  `json:"type"`
	Revision uint64  `json:"revision"`
	Compact  uint64  `json:"compact_revision"` // of "compacted"
	Items    []Item  `json:"items"`            // of "state"
	Changes  []event `json:"events"`           // of "changes"
	Partial  bool    `json:"partial"`          // of "changes": the next message has more of the revision
}

// event is a change in a Message.
type event struct {
	Op string `json:"op"`
	Item
	Prev *Item `json:"prev"`
}

// Refusal is returned for a watch that a node refuses.
type Refusal struct {
	Status  int
	Code    string
	Compact uint64 // of the code "compacted": the oldest revision that is kept
}

// Error implements error.
func (r *Refusal) Error() string {
	return fmt.Sprintf("the watch is refused: %d, %s", r.Status, r.Code)
}

// OpenStream begins a stream with the parameters of the API, which lasts until Close or
// until ctx ends. An error may be a *Refusal.
func OpenStream(ctx context.Context, client *http.Client, base string, query url.Values) (*Stream, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/watch?"+query.Encode(), nil)
	if err != nil {
		return nil, fmt.Errorf("make a request: %w", err)
	}
	req.Header.Set("Accept", linesType)
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode == http.StatusOK {
		return &Stream{body: resp.Body, lines: bufio.NewReader(resp.Body)}, nil
	}
	defer resp.Body.Close()
	refusal := &Refusal{Status: resp.StatusCode}
	var p struct {
		Code    string
		Compact uint64 `json:"compact_revision"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&p); err != nil {
		return nil, fmt.Errorf("%w, and no problem: %w", refusal, err)
	}
	refusal.Code, refusal.Compact = p.Code, p.Compact
	return nil, refusal
}

// Close ends the stream.
func (s *Stream) Close() { s.body.Close() }

// Next returns the next message. The messages of a revision in parts are one. The error is
// io.EOF at the end of a stream.
func (s *Stream) Next() (m Message, err error) {
	whole, err := s.next()
	for m = whole; err == nil && m.Partial; whole.Changes = append(whole.Changes, m.Changes...) {
		if m, err = s.next(); err == nil && m.Type == "changes" && m.Revision != whole.Revision {
			err = fmt.Errorf("changes of revision %d follow a part of revision %d: %w", m.Revision, whole.Revision, errAnswer)
		} else if err == nil && m.Type != "changes" { // the watch ends inside the revision
			return m, nil
		}
	}
	whole.Partial = false
	return whole, err
}

// next returns the next message as it is.
func (s *Stream) next() (m Message, err error) {
	line, err := s.lines.ReadBytes('\n')
	if err != nil { // the stream ends, or broke off within a message
		return m, err
	}
	if err := json.Unmarshal(line, &m); err != nil {
		return m, fmt.Errorf("message %.200q: %w: %w", line, errAnswer, err)
	}
	return m, nil
}

// Events returns the changes of a message. An error is one of a change that is not of the
// message's revision or that the API does not have.
func (m *Message) Events() ([]history.Event, error) {
	events := make([]history.Event, 0, len(m.Changes))
	for _, c := range m.Changes {
		if c.ModRevision != m.Revision || c.Op != "put" && c.Op != "delete" {
			return nil, fmt.Errorf("%s of %s of revision %d in the changes of revision %d: %w", c.Op, c.Key, c.ModRevision, m.Revision, errAnswer)
		}
		e := history.Event{Key: c.Key, Deleted: c.Op == "delete", Value: c.Value, CreateRevision: c.CreateRevision, Version: c.Version}
		if c.Prev != nil {
			e.Prev = c.Prev.ModRevision
		}
		events = append(events, e)
	}
	return events, nil
}
