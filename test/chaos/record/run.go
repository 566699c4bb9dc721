package record

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// Run is one run against one cluster. Times are in seconds since Began, rounded to the
// millisecond. Its JSON is in the same directory as the run's page.
type Run struct {
	Program string    `json:"program"` // the tested program: "kvorum" or "etcd"
	Version string    `json:"version"` // as the program reports it
	Command string    `json:"command"` // the command that repeats the run
	Seed    uint64    `json:"seed"`
	Kind    string    `json:"kind"` // of the lab: "namespaces", "proxy" or "docker"
	Nodes   int       `json:"nodes"`
	Clients int       `json:"clients"`
	Began   time.Time `json:"began"`
	Length  float64   `json:"length"`

	Seconds    []Second    `json:"seconds"`    // one for each second of the run, without gaps
	Operations []Operation `json:"operations"` // what clients did, by kind; in the order of the kinds
	Faults     []Fault     `json:"faults"`     // in the order of their beginnings
	Leaders    []Leader    `json:"leaders"`    // changes of leader or term, in order
	Exits      []Exit      `json:"exits"`
	Violations []Violation `json:"violations"` // broken promises; a run that passes has none
	Uncovered  []Uncovered `json:"uncovered"`  // parts that the run could not cover
	Keys       []Key       `json:"keys"`       // keys whose history has no order that explains it
	Checks     []Check     `json:"checks"`     // the checks at the end, and their amounts

	// Files is the evidence that Violations name, by file name. The report writes the files
	// into the directory of its page, and shows text files.
	Files map[string][]byte `json:"-"`
}

// Second has the results of the clients in one second.
type Second struct {
	Acknowledged int     `json:"acknowledged"` // writes
	Reads        int     `json:"reads"`        // that were answered
	Refused      int     `json:"refused"`      // operations that were answered as not done
	Unknown      int     `json:"unknown"`      // writes without an answer
	P50          float64 `json:"p50"`          // of the acknowledged writes' times, in milliseconds
	P99          float64 `json:"p99"`
}

// Operation counts what clients did of one kind.
type Operation struct {
	Kind     string `json:"kind"`     // such as "get stale"
	Answered int    `json:"answered"` // with a result
	Refused  int    `json:"refused"`  // answered as not done
	Unknown  int    `json:"unknown"`  // without an answer
}

// Fault is one fault, with its time.
type Fault struct {
	Name    string   `json:"name"` // such as "pause the leader"
	Detail  string   `json:"detail"`
	Hosts   []string `json:"hosts"`
	From    float64  `json:"from"`
	To      float64  `json:"to"`      // when it was healed
	Served  float64  `json:"served"`  // time from To to the next acknowledged write; -1 if there was none
	Without float64  `json:"without"` // the longest time without an acknowledged write between From and that write
	Terms   uint64   `json:"terms"`   // growth of the term
	Done    bool     `json:"done"`    // false if it could not be made
	Reason  string   `json:"reason"`  // why not
}

// Leader is the leader from a time on, according to most nodes.
type Leader struct {
	At   float64 `json:"at"`
	Host string  `json:"host"` // "" for none
	Term uint64  `json:"term"`
}

// Exit is the end of a process.
type Exit struct {
	At     float64 `json:"at"`
	Host   string  `json:"host"`
	Code   int     `json:"code"`
	Signal string  `json:"signal"`
	Asked  bool    `json:"asked"` // the run itself ended it
	Why    string  `json:"why"`   // the last line of its log, if the run did not end it
}

// Violation is a promise that was broken.
type Violation struct {
	At       float64 `json:"at"`
	Promise  string  `json:"promise"` // such as "an acknowledged write is kept"
	What     string  `json:"what"`
	Evidence string  `json:"evidence"` // the name of a file beside the page, "" for none
}

// Uncovered is a part that a run did not cover.
type Uncovered struct {
	What   string `json:"what"`
	Reason string `json:"reason"`
}

// Key is a key whose operations have no order that explains them.
type Key struct {
	Name    string `json:"name"`
	Explain string `json:"explain"` // the newest operations of the shortest prefix of the history without an order
	Picture string `json:"-"`       // porcupine's page of it, a whole HTML document
}

// Check is one check at the end of a run.
type Check struct {
	Name   string `json:"name"`
	Of     string `json:"of"` // its amount, such as "4,312 acknowledged writes on 3 nodes"
	Passed bool   `json:"passed"`
}

// Passed reports whether no promise was broken and everything was covered.
func (r *Run) Passed() bool { return !r.Broken() && len(r.Gaps()) == 0 }

// Broken reports whether a promise was broken: there is a violation, a key without an
// order, or a check that failed.
func (r *Run) Broken() bool {
	failed := func(c Check) bool { return !c.Passed }
	return len(r.Violations) > 0 || len(r.Keys) > 0 || slices.ContainsFunc(r.Checks, failed)
}

// Gaps returns all parts that the run did not cover: Uncovered, and those that the record
// itself shows. These are each fault that could not be made, and a run without an
// acknowledged write or without a check.
func (r *Run) Gaps() []Uncovered {
	gaps := slices.Clone(r.Uncovered)
	for _, f := range r.Faults {
		named := func(u Uncovered) bool { return strings.Contains(u.What, f.Name) }
		if !f.Done && !slices.ContainsFunc(gaps, named) {
			gaps = append(gaps, Uncovered{What: f.Name, Reason: f.Reason})
		}
	}
	acknowledged := func(s Second) bool { return s.Acknowledged > 0 }
	if !slices.ContainsFunc(r.Seconds, acknowledged) {
		gaps = append(gaps, Uncovered{What: "the run", Reason: "no write was acknowledged"})
	}
	if len(r.Checks) == 0 {
		gaps = append(gaps, Uncovered{What: "the checks", Reason: "nothing was checked"})
	}
	return gaps
}

// Read returns the record that a file holds as JSON, without pictures and Files.
func Read(path string) (*Run, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	run := &Run{}
	if err := json.Unmarshal(data, run); err != nil {
		return nil, fmt.Errorf("record %s: %w", path, err)
	}
	return run, nil
}
