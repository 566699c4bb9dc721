package httpapi

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/kvorum/kvorum/kv"
)

// listParams are the parameters of a list.
type listParams struct {
	rangeParams
	limit     int    // 0 means no limit
	delimiter string // "" for none
	sort      string // a key of sortKeys
	reverse   bool
	keysOnly  bool
	countOnly bool
	options   kv.ReadOptions
	after     *place // that the list continues after, nil for its beginning
	// hidden is a time of the cluster clock in milliseconds. Keys whose deadlines are up to it are
	// not shown; 0 hides none.
	hidden int64
}

// rangeParams are the parameters that select keys.
type rangeParams struct{ prefix, start, end string }

// rangeNames are the names of rangeParams.
var rangeNames = []string{"prefix", "start", "end"}

// span returns the keys that have the prefix and are from start to end.
func (p *rangeParams) span() kv.Span {
	span := kv.Prefix(p.prefix)
	span.Start = max(span.Start, p.start)
	if p.end != "" && (span.End == "" || p.end < span.End) {
		span.End = p.end
	}
	return span
}

// rangeParams returns the parameters that select keys.
func (s *Server) rangeParams(q query) (rangeParams, error) {
	for _, name := range rangeNames {
		if len(q[name]) > s.maxKey() {
			return rangeParams{}, tooLarge(paramField(name), "has", int64(len(q[name])), int64(s.maxKey()))
		}
	}
	if end, given := q["end"]; given && end == "" {
		return rangeParams{}, invalidParam("end", "is empty; leave it out for no end")
	}
	return rangeParams{q["prefix"], q["start"], q["end"]}, nil
}

// sortKeys are what a list can be sorted by, with the number of an item that decides. A list
// that is sorted by key has none.
var sortKeys = map[string]func(*kv.Item) uint64{
	"key":             nil,
	"create_revision": func(it *kv.Item) uint64 { return it.CreateRevision },
	"mod_revision":    func(it *kv.Item) uint64 { return it.ModRevision },
	"version":         func(it *kv.Item) uint64 { return it.Version },
}

// maxSorted is the maximum limit of a list that is not sorted by key: its entries must be in
// memory before the first can be sent.
const maxSorted = 10_000

var listNames = slices.Concat(getParams, rangeNames, []string{"limit", "cursor", "delimiter", "sort", "reverse", "keys_only", "count_only"})

// listParams returns the parameters in a query string.
func (s *Server) listParams(raw string) (p listParams, err error) {
	q, err := parseQuery(raw, listNames...)
	if err != nil {
		return p, err
	}
	if p.rangeParams, err = s.rangeParams(q); err != nil {
		return p, err
	}
	if p.limit, err = q.positive("limit"); err != nil {
		return p, err
	}
	for name, flag := range map[string]*bool{"reverse": &p.reverse, "keys_only": &p.keysOnly, "count_only": &p.countOnly} {
		if *flag, err = q.flag(name); err != nil {
			return p, err
		}
	}
	if p.options, err = q.readOptions(); err != nil {
		return p, err
	}
	p.delimiter, p.sort = q["delimiter"], "key"
	if sort, given := q["sort"]; given {
		p.sort = sort
	}
	if err := p.check(q); err != nil {
		return p, err
	}
	if cursor, given := q["cursor"]; given {
		return p, p.resume(cursor)
	}
	return p, nil
}

// check refuses parameters that exclude each other.
func (p *listParams) check(q query) error {
	number, known := sortKeys[p.sort]
	_, delimited := q["delimiter"]
	switch {
	case !known:
		return invalidParam("sort", "must be key, create_revision, mod_revision or version")
	case delimited && p.delimiter == "":
		return invalidParam("delimiter", "must not be empty")
	case number != nil && delimited:
		return invalidParam("delimiter", "is for sort=key only")
	case number != nil && (p.limit == 0 || p.limit > maxSorted):
		return invalidParam("limit", fmt.Sprintf("must be given with sort=%s, and be at most %d", p.sort, maxSorted))
	}
	if p.countOnly {
		for _, name := range []string{"limit", "cursor", "delimiter", "sort", "reverse", "keys_only"} {
			if _, given := q[name]; given {
				return invalidParam(name, "is not for count_only=true")
			}
		}
	}
	return nil
}

// The content types of lists.
const (
	jsonType  = "application/json"
	linesType = "application/x-ndjson"
)

// listType returns the content type of a list: JSON, or JSON lines if the client prefers
// them in its Accept header.
func listType(h http.Header) string {
	preferred, highest := jsonType, 0.0
	for _, line := range h.Values("Accept") {
		for part := range strings.SplitSeq(line, ",") {
			name, parameters, _ := strings.Cut(part, ";")
			quality := 1.0
			if value, ok := strings.CutPrefix(strings.ReplaceAll(parameters, " ", ""), "q="); ok {
				quality, _ = strconv.ParseFloat(value, 64) // 0 if it is no number
			}
			name = strings.ToLower(strings.TrimSpace(name))
			if (name == jsonType || name == linesType) && quality > highest {
				preferred, highest = name, quality
			}
		}
	}
	return preferred
}
