package httpapi

import (
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kvorum/kvorum/kv"
)

// watchParams are the parameters of a watch.
type watchParams struct {
	options kv.WatchOptions
	events  bool // server-sent events, not JSON lines
}

// watchNames are the names of the parameters.
var watchNames = slices.Concat(rangeNames, []string{
	"key", "from_revision", "snapshot", "prev", "ops", "progress", "consistency", "min_revision",
})

// parseWatchParams returns the parameters of a request.
func (s *Server) parseWatchParams(r *http.Request) (p watchParams, err error) {
	q, err := parseQuery(r.URL.RawQuery, watchNames...)
	if err != nil {
		return p, err
	}
	o := &p.options
	read, err := q.readOptions()
	if err != nil {
		return p, err
	}
	o.Level, o.MinRevision = read.Level, read.MinRevision
	if o.Span, err = s.watchedSpan(q); err != nil {
		return p, err
	}
	if o.Snapshot, err = q.flag("snapshot"); err != nil {
		return p, err
	}
	if o.PrevItems, err = q.flag("prev"); err != nil {
		return p, err
	}
	if o.Kinds, err = q.kinds(); err != nil {
		return p, err
	}
	if o.Progress, err = q.progress(); err != nil {
		return p, err
	}
	if o.From, err = q.revision("from_revision"); err != nil {
		return p, err
	}
	if o.From != 0 {
		for _, name := range []string{"consistency", "min_revision"} {
			if _, given := q[name]; given {
				return p, invalidParam(name, "is for watches from now on, not for one with from_revision")
			}
		}
	}
	if err := o.Validate(); err != nil {
		return p, err
	}
	if p.events = acceptsEvents(r.Header); p.events {
		return p, resumeAfter(o, r.Header.Get("Last-Event-ID"))
	}
	return p, nil
}

// resumeAfter makes the watch continue after the last event that a client has seen.
func resumeAfter(o *kv.WatchOptions, id string) error {
	if id == "" {
		return nil
	}
	revision, err := strconv.ParseUint(id, 10, 63)
	if err != nil {
		return &kv.ValidationError{Field: "Last-Event-ID", Reason: "must be the id of an event of a watch"}
	}
	o.From, o.Snapshot = revision+1, false
	return nil
}

// watchedSpan returns the keys of a watch: one key, or a range as that of a list.
func (s *Server) watchedSpan(q query) (kv.Span, error) {
	keys, err := s.rangeParams(q)
	key, isKey := q["key"]
	switch {
	case err != nil || !isKey:
		return keys.span(), err
	case keys != rangeParams{}:
		return kv.Span{}, invalidParam("key", "excludes prefix, start and end")
	case key == "":
		return kv.Span{}, invalidParam("key", "must not be empty")
	case len(key) > s.maxKey():
		return kv.Span{}, tooLarge(paramField("key"), "has", int64(len(key)), int64(s.maxKey()))
	}
	return kv.One(key), nil
}

// kinds returns the parameter ops, a list of kinds of events; all of them if it is not given.
func (q query) kinds() (kv.EventKinds, error) {
	value, ok := q["ops"]
	if !ok {
		return 0, nil
	}
	var kinds []kv.EventKind
	for name := range strings.SplitSeq(value, ",") {
		kind, ok := kv.EventKindOf(name)
		if !ok {
			return 0, invalidParam("ops", "must be a list of put, delete, expire and evict, separated by commas")
		}
		kinds = append(kinds, kind)
	}
	return kv.Kinds(kinds...), nil
}

// progress returns the parameter progress.
func (q query) progress() (time.Duration, error) {
	value, ok := q["progress"]
	if !ok {
		return defaultWatchProgress, nil
	}
	d, err := time.ParseDuration(value)
	if err != nil || d < kv.MinWatchProgress || d > maxWatchProgress {
		return 0, invalidParam("progress", "must be a duration from 100ms to 1h, such as 10s")
	}
	return d, nil
}

// revision returns the parameter name, a revision; 0 if it is not given.
func (q query) revision(name string) (uint64, error) {
	value, ok := q[name]
	if !ok {
		return 0, nil
	}
	n, err := strconv.ParseUint(value, 10, 63)
	if err != nil || n == 0 {
		return 0, invalidParam(name, "must be a revision, at least 1")
	}
	return n, nil
}

// acceptsEvents reports whether the client asks for server-sent events, as browsers do.
// Otherwise it gets JSON lines.
func acceptsEvents(h http.Header) bool {
	return slices.ContainsFunc(h.Values("Accept"), func(value string) bool {
		for part := range strings.SplitSeq(value, ",") {
			if name, _, err := mime.ParseMediaType(part); err == nil && name == "text/event-stream" {
				return true
			}
		}
		return false
	})
}
