package load

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/kvorum/kvorum/test/history"
)

// onceOfBatch is the number of keys that a batch writes once.
const onceOfBatch = 3

// counter returns the key of a counter, to which clients of the same group add.
func (c *client) counter() string {
	return fmt.Sprintf("%sc/%d", c.load.hist.Prefix(), c.group)
}

// add adds to a counter.
func (c *client) add() bool {
	key, delta, call := c.counter(), 1+c.rng.Int64N(3), c.load.hist.Call()
	query := url.Values{"op": {"incr"}, "delta": {strconv.FormatInt(delta, 10)}}
	a := c.ask("incr", c.host, request{method: http.MethodPost, key: key, query: query})
	sum, err := strconv.ParseInt(strings.TrimSpace(a.body), 10, 64)
	if a.fate == history.Acknowledged && err != nil {
		c.load.hist.Broke(promiseAnswer, "%s added to %s and got %.100q", c.name, key, a.body)
		a.fate = history.Unknown
	}
	c.added(key, delta, sum, a.revision, c.fate(a), call)
	return a.status != 0
}

// added records an addition to a counter.
func (c *client) added(key string, delta, sum int64, revision uint64, fate history.Fate, call history.Call) {
	if fate == history.NotDone {
		return
	}
	c.load.hist.AddCount(key, delta, sum, revision, fate == history.Unknown, call)
	if fate == history.Acknowledged {
		c.load.hist.Changed(revision, 1, history.Event{Key: key, Value: strconv.FormatInt(sum, 10)})
	}
}

// batchLine is a line of the answer to a batch.
type batchLine struct {
	history.TxnOutput
	Result *history.Result `json:"result"`
	Error  *struct {
		Outcome string `json:"outcome"`
	} `json:"error"`
	End   *bool `json:"end"`
	Count int   `json:"count"`
}

// fate returns the outcome of the line's request.
func (l *batchLine) fate() history.Fate {
	switch {
	case l.Error == nil:
		return history.Acknowledged
	case l.Error.Outcome == "not_done":
		return history.NotDone
	}
	return history.Unknown
}

// batch sends a batch: keys that are written once, and an addition to a counter.
func (c *client) batch() bool {
	var body strings.Builder
	lines := json.NewEncoder(&body)
	var values []string
	absent := false
	for range onceOfBatch {
		value := c.shortValue()
		values = append(values, value)
		key := c.onceKey(value)
		_ = lines.Encode(history.Txn{ // into memory
			If:   []history.Compare{{Key: key, Exists: &absent}},
			Then: []history.Op{{Put: &history.Write{Key: key, Value: value}}},
		})
	}
	key, delta, call := c.counter(), 1+c.rng.Int64N(3), c.load.hist.Call()
	_ = lines.Encode(history.Op{Add: &history.Add{Key: key, Delta: delta}}) // into memory
	a := c.ask("batch", c.host, request{method: http.MethodPost, path: "/batch", value: body.String()})
	answers := c.readBatch(a)
	for i, value := range values {
		c.wroteInBatch(value, answers[i])
	}
	l := answers[onceOfBatch]
	fate := c.fate(answer{fate: l.fate()})
	if fate == history.Acknowledged && l.Result == nil {
		c.load.hist.Broke(promiseAnswer, "%s: the answer to an addition in a batch has no result", c.name)
		fate = history.Unknown
	}
	var sum int64
	if l.Result != nil {
		sum = l.Result.Number
	}
	c.added(key, delta, sum, l.Revision, fate, call)
	return a.status != 0
}

// wroteInBatch records the outcome of a value that is written once.
func (c *client) wroteInBatch(value string, l batchLine) {
	key, fate := c.onceKey(value), c.fate(answer{fate: l.fate()})
	switch {
	case fate == history.NotDone:
		c.refused(value)
	case fate == history.Acknowledged && (!l.Succeeded || len(l.Results) != 1):
		c.load.hist.Broke(PromiseOnce, "%s: %s was there before it was first written, or the answer to it is %+v", c.name, key, l)
		fate = history.Unknown
	case fate == history.Acknowledged:
		c.saw(value, l.Results[0].ModRevision)
		c.load.hist.Changed(l.Revision, 1, history.Event{Key: key, Value: value})
	}
	c.load.hist.AddOnce(key, value, fate)
}

// onceKey returns the key of a value that is written once.
func (c *client) onceKey(value string) string { return c.load.hist.Prefix() + "o/" + value }

// readBatch returns an answer to each line of a batch. If there is none, it is unknown or
// not done.
func (c *client) readBatch(a answer) []batchLine {
	missing := func(outcome string) (l batchLine) {
		l.Error = &struct {
			Outcome string `json:"outcome"`
		}{outcome}
		return l
	}
	if a.fate == history.NotDone {
		return repeat(missing("not_done"), onceOfBatch+1)
	}
	var answers []batchLine
	for lines := json.NewDecoder(strings.NewReader(a.body)); a.code == ""; {
		var l batchLine
		if lines.Decode(&l) != nil { // the answer broke off
			break
		}
		if l.End == nil {
			answers = append(answers, l)
			continue
		}
		if l.Count != len(answers) || *l.End && l.Count != onceOfBatch+1 {
			c.load.hist.Broke(promiseAnswer, "%s: a batch of %d has %d answers, and says %d", c.name, onceOfBatch+1, len(answers), l.Count)
		}
		return append(answers, repeat(missing("not_done"), onceOfBatch+1)...)
	}
	if a.fate == history.Acknowledged {
		c.load.hist.Broke(promiseAnswer, "%s: the answer to a batch has no end: %.300q", c.name, a.body)
	}
	return append(answers, repeat(missing("unknown"), onceOfBatch+1)...)
}

// repeat returns n times the same line.
func repeat(l batchLine, n int) []batchLine {
	all := make([]batchLine, n)
	for i := range all {
		all[i] = l
	}
	return all
}
