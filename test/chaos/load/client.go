package load

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/kvorum/kvorum/test/history"
)

// PromiseOnce is checked of each value that is seen.
const PromiseOnce = "a write happens once, and not where it was reported as not done"

// The other promises that are checked of each answer.
const (
	promiseAnswer     = "an answer is one that the interface has"
	promiseMin        = "a read with min_revision is not older than it"
	promiseConnection = "a node does not go back on one connection"
	promiseList       = "a list shows nothing newer than its revision"
	promiseSession    = "a session never goes back"
	promiseTxn        = "a transaction makes all its changes at one revision"
	promisePast       = "a read at a revision has one answer, on each node and at any time"
	promiseCompacted  = "a revision is refused as compacted exactly if it is"
	promiseWatch      = "a watch begins after all that was acknowledged before it"
	promiseKeyed      = "a request with an idempotency key has one answer"
)

// Promises are the names of all promises that the clients check of each answer.
var Promises = []string{
	promiseAnswer, PromiseOnce, promiseMin, promiseConnection, promiseList, promiseSession,
	promiseTxn, promisePast, promiseCompacted, promiseWatch, promiseKeyed,
}

// errAnswer is wrapped by the error of an answer that the API does not have.
var errAnswer = errors.New("not in the interface")

// lostAfter is the time after which the Lie LostWrite is told.
const lostAfter = 2 * time.Second

// seen is a key's state as a client has last seen it.
type seen struct {
	value    string
	modified uint64
}

// client does one operation after the other. It belongs to one goroutine, except acked.
type client struct {
	load  *Load
	id    int
	host  int // the index of its host
	group int // clients of the same one share keys
	name  string
	rng   *rand.Rand
	wires []*wire // to each host
	next  int     // number of the next value
	age   int     // the epoch that last is of
	last  map[string]seen
	items map[string]Item // of the group's transactions, as the client has last seen them
	keyed *keyed          // whose outcome is not known yet; nil if there is none
	lied  bool
	acked atomic.Int64 // writes that were acknowledged
}

// run acts until the load ends, with pauses in between.
func (c *client) run(act func() (answered bool)) {
	defer func() {
		for _, w := range c.wires {
			w.close()
		}
	}()
	answered := true
	for {
		mean := c.load.cfg.Pause
		if !answered {
			mean = max(4*mean, 50*time.Millisecond) // do not press a host that is down
		}
		select {
		case <-c.load.stop:
			c.settleKeyed()
			return
		case <-time.After(time.Duration(c.rng.ExpFloat64() * float64(mean))):
		}
		answered = act()
	}
}

// turn forgets the states of keys that are not used any more.
func (c *client) turn() {
	if age := int(time.Since(c.load.cfg.Began) / epoch); age != c.age || c.last == nil {
		c.age, c.last, c.items = age, map[string]seen{}, map[string]Item{}
	}
}

// act does one operation through the client's own host.
func (c *client) act() bool {
	c.turn()
	if c.load.cfg.Lie == LostWrite && !c.lied && time.Since(c.load.cfg.Began) > lostAfter {
		c.lied = true
		if c.id == 0 {
			c.loseWrites()
		}
	}
	switch n := c.rng.IntN(100); {
	case c.load.cfg.Lie == EarlyAcknowledgement && c.rng.IntN(2) == 0:
		return c.once() // the lie is only about these
	case c.load.cfg.Lie == LeaderAsLinearizable && c.rng.IntN(2) == 0, n < 22: // the lie is only about these
		return c.get(c.linearizable(), c.key())
	case n < 27:
		return c.get("leader", c.key())
	case n < 32:
		return c.get("stale", c.key())
	case n < 49:
		return c.put()
	case n < 57:
		return c.swap()
	case n < 64:
		return c.remove()
	case n < 68:
		return c.once()
	case n < 72:
		return c.list()
	}
	return c.actMore()
}

// actMore does an operation on several keys or on the history.
func (c *client) actMore() bool {
	switch n := c.rng.IntN(100); {
	case n < 38:
		return c.txn()
	case n < 50:
		return c.listGroup()
	case n < 57:
		return c.add()
	case n < 64:
		return c.addKeyed()
	case n < 72:
		return c.batch()
	case n < 92:
		return c.getAt()
	case n < 97:
		return c.listAt()
	}
	return c.compact()
}

// linearizable returns the level of the reads that are recorded as linearizable ones.
func (c *client) linearizable() string {
	switch c.load.cfg.Lie {
	case StaleAsLinearizable:
		return "stale"
	case LeaderAsLinearizable:
		return "leader"
	}
	return "linearizable"
}

// prefix returns the beginning of the keys that the clients of a group use now.
func (c *client) prefix() string {
	return fmt.Sprintf("%sk/%d-%d/", c.load.hist.Prefix(), c.age, c.group)
}

func (c *client) key() string { return c.prefix() + strconv.Itoa(c.rng.IntN(keysAtOnce)) }

// value returns a value that no client has written. Some are longer, so that logs grow.
func (c *client) value() string {
	c.next++
	return fmt.Sprintf("%d.%d%s", c.id, c.next, strings.Repeat("-", []int{0, 0, 0, 300, 2000}[c.rng.IntN(5)]))
}

// ask sends a request through a host, counts its outcome, and checks the promises of every
// answer.
func (c *client) ask(kind string, host int, r request) answer {
	w, began := c.wires[host], time.Now()
	a := w.do(r, time.Duration(1000+c.rng.IntN(2500))*time.Millisecond)
	c.load.tally.add(kind, r.write(), a.fate, time.Since(began))
	h := c.load.hist
	h.Looked(promiseAnswer)
	if errors.Is(a.err, errAnswer) {
		h.Broke(promiseAnswer, "%s got %v from %s: %.200q", c.name, a.err, w.base, a.body)
	}
	if a.fate != history.Acknowledged {
		return a
	}
	h.Reached(a.revision)
	if r.write() {
		c.acked.Add(1)
		return a
	}
	if !r.past() {
		c.checkRead(w, r, a)
	}
	return a
}

// checkRead checks an answer to a read.
func (c *client) checkRead(w *wire, r request, a answer) {
	h := c.load.hist
	if w.floor > 0 {
		h.Looked(promiseConnection)
	}
	if a.revision < w.floor {
		h.Broke(promiseConnection, "%s read at revision %d from %s, and before that at %d", c.name, a.revision, w.base, w.floor)
	}
	w.floor = max(w.floor, a.revision)
	if least := r.query.Get("min_revision"); least != "" {
		h.Looked(promiseMin)
		if n, err := strconv.ParseUint(least, 10, 64); err != nil || a.revision < n {
			h.Broke(promiseMin, "%s asked %s for revision %s or newer and got %d", c.name, w.base, least, a.revision)
		}
	}
	if want := r.query.Get("consistency"); want != "" && want != a.level {
		h.Broke(promiseAnswer, "%s asked %s for a %s read and got one that says %q", c.name, w.base, want, a.level)
	}
	if r.key != "" && a.status == http.StatusOK {
		c.saw(a.body, a.modified)
	}
}

// saw checks a value that was read or written at a revision.
func (c *client) saw(value string, modified uint64) {
	c.load.hist.Looked(PromiseOnce)
	if err := c.load.hist.Saw(value, modified); err != nil {
		c.load.hist.Broke(PromiseOnce, "%s: %v", c.name, err)
	}
}

// get reads a key at a level.
func (c *client) get(level, key string) bool {
	query := url.Values{"consistency": {level}}
	last := c.last[key]
	bounded := level != "linearizable" && last.modified > 0 && c.rng.IntN(2) == 0
	if bounded {
		query.Set("min_revision", strconv.FormatUint(last.modified, 10))
	}
	if level == "stale" && c.rng.IntN(3) == 0 {
		query.Set("max_stale", fmt.Sprintf("%dms", 500+c.rng.IntN(5000)))
	}
	call := c.load.hist.Call()
	a := c.ask("get "+level, c.host, request{method: http.MethodGet, key: key, query: query})
	if a.fate != history.Acknowledged {
		return false // says nothing
	}
	value := ""
	if a.status == http.StatusOK {
		value = a.body
		if bounded && a.modified < last.modified {
			c.load.hist.Broke(promiseMin, "%s asked for %s at revision %d or newer and got what was written at %d", c.name, key, last.modified, a.modified)
		}
		c.last[key] = seen{value, a.modified}
	} else if level == c.linearizable() {
		delete(c.last, key)
	}
	if level == c.linearizable() {
		c.load.hist.Add(c.id, history.Input{Kind: history.Get, Key: key}, history.Output{Value: value}, call)
	}
	return true
}

// list reads all keys of the group, which counts as a get of each.
func (c *client) list() bool {
	prefix, call := c.prefix(), c.load.hist.Call()
	query := url.Values{"prefix": {prefix}, "consistency": {c.linearizable()}}
	a := c.ask("list", c.host, request{method: http.MethodGet, query: query})
	if a.fate != history.Acknowledged {
		return false
	}
	found := map[string]string{}
	if err := c.readList(a, func(item Item) { found[item.Key] = item.Value }); err != nil {
		return false
	}
	for i := range keysAtOnce {
		key := prefix + strconv.Itoa(i)
		c.load.hist.Add(c.id, history.Input{Kind: history.Get, Key: key}, history.Output{Value: found[key]}, call)
	}
	return true
}

// readList checks the items of a list and calls each with them. It returns an error if the
// list is not complete.
func (c *client) readList(a answer, each func(Item)) error {
	c.load.hist.Looked(promiseList)
	err := ReadList(strings.NewReader(a.body), func(item Item) error {
		if strings.Contains(item.Value, ".") { // not a number
			c.saw(item.Value, item.ModRevision)
		}
		if item.ModRevision > a.revision {
			c.load.hist.Broke(promiseList, "%s got a list of revision %d with %s of revision %d", c.name, a.revision, item.Key, item.ModRevision)
		}
		each(item)
		return nil
	})
	if err != nil {
		c.load.hist.Broke(promiseAnswer, "%s got a list of revision %d that ends early: %v", c.name, a.revision, err)
	}
	return err
}

// put sets a key.
func (c *client) put() bool {
	in := history.Input{Kind: history.Put, Key: c.key(), Value: c.value()}
	return c.change("put", c.host, in, request{method: http.MethodPut, key: in.Key, value: in.Value}).status != 0
}

// swap sets a key if it still has what the client saw last.
func (c *client) swap() bool {
	in := history.Input{Kind: history.Swap, Key: c.key(), Value: c.value()}
	r := request{method: http.MethodPut, key: in.Key, value: in.Value, none: "*"}
	if last, ok := c.last[in.Key]; ok {
		in.Expect = last.value
		r.none, r.match = "", strconv.Quote(strconv.FormatUint(last.modified, 10))
	}
	return c.change("put if", c.host, in, r).status != 0
}

// remove deletes a key.
func (c *client) remove() bool {
	in := history.Input{Kind: history.Delete, Key: c.key()}
	return c.change("delete", c.host, in, request{method: http.MethodDelete, key: in.Key}).status != 0
}

// change does a write and records its outcome.
func (c *client) change(kind string, host int, in history.Input, r request) answer {
	call := c.load.hist.Call()
	a := c.ask(kind, host, r)
	switch c.fate(a) {
	case history.Unknown:
		c.load.hist.Add(c.id, in, history.Output{Unknown: true}, call)
		return a
	case history.NotDone:
		c.refused(in.Value)
		return a
	}
	failed := a.status == http.StatusPreconditionFailed
	out := history.Output{Done: a.status == http.StatusCreated}
	switch in.Kind {
	case history.Delete:
		out.Done = a.status == http.StatusNoContent
		delete(c.last, in.Key)
		if out.Done {
			c.load.hist.Changed(a.revision, 1, history.Event{Key: in.Key, Deleted: true})
		}
	case history.Swap:
		out.Done = !failed
	}
	if in.Kind != history.Delete && !failed {
		c.saw(in.Value, a.modified)
		c.last[in.Key] = seen{in.Value, a.modified}
		c.load.hist.Changed(a.modified, 1, history.Event{Key: in.Key, Value: in.Value})
	}
	c.load.hist.Add(c.id, in, out, call)
	return a
}

// fate returns the outcome of an answer according to the client.
func (c *client) fate(a answer) history.Fate {
	if a.fate == history.Unknown && c.load.cfg.Lie == UnknownAsNotDone {
		return history.NotDone
	}
	return a.fate
}

// refused records that a value was not written; "" is none.
func (c *client) refused(value string) {
	if value == "" {
		return
	}
	if err := c.load.hist.Refused(value); err != nil {
		c.load.hist.Broke(PromiseOnce, "%s: %v", c.name, err)
	}
}

// once writes a key that is never written again.
func (c *client) once() bool {
	value := c.shortValue()
	key := c.onceKey(value)
	a := c.ask("put once", c.host, request{method: http.MethodPut, key: key, value: value, none: "*"})
	f := c.fate(a)
	if c.load.cfg.Lie == EarlyAcknowledgement && f == history.Unknown {
		f = history.Acknowledged
	}
	switch {
	case f == history.NotDone:
		c.refused(value)
	case a.fate == history.Unknown:
	case f == history.Acknowledged && a.status != http.StatusCreated:
		c.load.hist.Broke(PromiseOnce, "%s: %s was there before it was first written", c.name, key)
	case f == history.Acknowledged:
		c.saw(value, a.modified)
		c.load.hist.Changed(a.modified, 1, history.Event{Key: key, Value: value})
	}
	c.load.hist.AddOnce(key, value, f)
	return a.status != 0
}

// loseWrites records two writes as acknowledged that are never sent: of a key that it has
// written before and reads after that, and of one that is written once.
func (c *client) loseWrites() {
	h := c.load.hist
	in := history.Input{Kind: history.Put, Key: c.prefix() + "lost", Value: c.value()}
	c.change("put", c.host, in, request{method: http.MethodPut, key: in.Key, value: in.Value})
	in.Value = c.value()
	h.Add(c.id, in, history.Output{}, h.Call())
	c.get("linearizable", in.Key)
	value := c.value()
	h.AddOnce(h.Prefix()+"o/"+value, value, history.Acknowledged)
}
