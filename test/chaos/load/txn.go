package load

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/kvorum/kvorum/test/history"
)

// groupPrefix returns the name of the group of keys whose transactions the clients of a group
// make now.
func (c *client) groupPrefix() string {
	return fmt.Sprintf("%st/%d-%d/", c.load.hist.Prefix(), c.age, c.group)
}

// txn does a transaction on the keys of the group.
func (c *client) txn() bool {
	group := c.groupPrefix()
	in := c.drawTxn(group)
	body, _ := json.Marshal(in) // texts and numbers alone
	call := c.load.hist.Call()
	a := c.ask("txn", c.host, request{method: http.MethodPost, path: txnPath, value: string(body)})
	switch c.fate(a) {
	case history.Unknown:
		c.load.hist.AddTxn(c.id, group, in, history.TxnOutput{Unknown: true}, call)
		return a.status != 0
	case history.NotDone:
		for _, o := range append(in.Then, in.Else...) {
			if o.Put != nil {
				c.refused(o.Put.Value)
			}
		}
		return a.status != 0
	}
	var out history.TxnOutput
	if err := json.Unmarshal([]byte(a.body), &out); err != nil || !c.checkTxn(in, out, a) {
		c.load.hist.Broke(promiseTxn, "%s did %s and got %v, %.500q of revision %d", c.name, body, err, a.body, a.revision)
		return true
	}
	c.load.hist.AddTxn(c.id, group, in, out, call)
	return true
}

// checkTxn reports whether the answer to a transaction is whole, and records its changes.
func (c *client) checkTxn(in history.Txn, out history.TxnOutput, a answer) bool {
	c.load.hist.Looked(promiseTxn)
	ops := in.Then
	if !out.Succeeded {
		ops = in.Else
	}
	if len(ops) != len(out.Results) || out.Revision != a.revision {
		return false
	}
	var changes []history.Event
	whole := 0
	for i, o := range ops {
		r := out.Results[i]
		switch {
		case o.Put != nil:
			changes = append(changes, history.Event{Key: o.Put.Key, Value: o.Put.Value})
			c.saw(o.Put.Value, r.ModRevision)
		case o.Add != nil:
			changes = append(changes, history.Event{Key: o.Add.Key, Value: strconv.FormatInt(r.Number, 10)})
		default:
			whole += r.Deleted
			continue
		}
		if whole++; r.ModRevision != out.Revision {
			return false
		}
	}
	c.load.hist.Changed(out.Revision, whole, changes...)
	return true
}

// drawTxn returns a transaction on the keys 0, 1 and 2 of a group, which have unique values,
// and n, which has a number.
func (c *client) drawTxn(group string) history.Txn {
	var in history.Txn
	for range c.rng.IntN(3) {
		in.If = append(in.If, c.drawCompare(group+strconv.Itoa(c.rng.IntN(keysAtOnce))))
	}
	put := func(i int) history.Op {
		return history.Op{Put: &history.Write{Key: group + strconv.Itoa(i), Value: c.shortValue()}}
	}
	key := group + strconv.Itoa(c.rng.IntN(keysAtOnce))
	all := history.Op{Range: &history.Span{Prefix: group}}
	add := history.Op{Add: &history.Add{Key: group + "n", Delta: 1 + c.rng.Int64N(9)}}
	switch i := c.rng.IntN(keysAtOnce); c.rng.IntN(6) {
	case 0:
		in.Then = []history.Op{put(0), put(1), put(2)}
	case 1:
		in.Then = []history.Op{put(i), add, {Get: &history.Span{Key: key}}}
	case 2:
		in.Then = []history.Op{{Delete: &history.Span{Start: group + "0", End: group + "2"}}, put(2), add}
	case 3:
		in.Then = []history.Op{put(i), put((i + 1) % keysAtOnce), all}
	case 4:
		in.Then = []history.Op{{Delete: &history.Span{Key: key}}, add, all}
	default:
		in.Then = []history.Op{add, all, {Delete: &history.Span{Start: group + "1", End: group + "3"}}}
	}
	switch c.rng.IntN(3) {
	case 0:
		in.Else = []history.Op{all}
	case 1:
		in.Else = []history.Op{put(c.rng.IntN(keysAtOnce)), add}
	default:
		in.Else = []history.Op{{Get: &history.Span{Key: key}}, {Delete: &history.Span{Key: key}}}
	}
	return in
}

// drawCompare returns a condition on a key: mostly one that holds by what the client has seen
// last.
func (c *client) drawCompare(key string) history.Compare {
	last, exists := c.items[key]
	switch c.rng.IntN(4) {
	case 0:
		version := last.Version
		return history.Compare{Key: key, Version: &version}
	case 1:
		value := last.Value
		return history.Compare{Key: key, Value: &value}
	case 2:
		exists = !exists
	}
	return history.Compare{Key: key, Exists: &exists}
}

// shortValue returns a value that no client has written.
func (c *client) shortValue() string {
	c.next++
	return fmt.Sprintf("%d.%d", c.id, c.next)
}

// listGroup reads all keys of the group, which counts as a transaction.
func (c *client) listGroup() bool {
	group, call := c.groupPrefix(), c.load.hist.Call()
	query := url.Values{"prefix": {group}, "consistency": {c.linearizable()}}
	a := c.ask("list of a group", c.host, request{method: http.MethodGet, query: query})
	if a.fate != history.Acknowledged {
		return false
	}
	var items []Item
	if err := c.readList(a, func(item Item) { items = append(items, item) }); err != nil {
		return false
	}
	for _, item := range items {
		c.items[item.Key] = item
	}
	in := history.Txn{Then: []history.Op{{Range: &history.Span{Prefix: group}}}}
	out := history.TxnOutput{Succeeded: true, Revision: a.revision, Results: []history.Result{{Items: items}}}
	c.load.hist.AddTxn(c.id, group, in, out, call)
	return true
}
