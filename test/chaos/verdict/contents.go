package verdict

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kvorum/kvorum/test/chaos/load"
	"github.com/kvorum/kvorum/test/history"
)

const (
	promiseKept  = "an acknowledged write is there in the end, on each node"
	promiseNever = "a write that was reported as not done is not there, and none that nobody made"
	promiseSame  = "all nodes hold the same at the same revision"
)

// content is the data of a node.
type content struct {
	revision uint64
	hash     string            // of all keys, values, revisions and versions, in order
	items    int               // number of items
	ours     map[string]string // the values of keys with the history's prefix
	list     []load.Item       // these keys
}

// contents compares the data of the nodes with each other and with the history, to which it
// adds the final data of each. It returns the data of each node.
func (f *final) contents(ctx context.Context, nodes []node) (all []content, ok bool) {
	call := f.hist.Call()
	all, err := f.lists(ctx, nodes)
	if err != nil {
		f.violate(promiseSame, "not compared: %v", err)
		f.check(promiseSame, false, len(nodes), "%d nodes", len(nodes))
		return nil, false
	}
	same := &several{f: f, promise: promiseSame}
	for i, c := range all {
		if c.hash != all[0].hash {
			same.add("%s and %s differ at revision %d: %d and %d keys, hash %s and %s", nodes[0].Name(), nodes[i].Name(),
				c.revision, all[0].items, c.items, all[0].hash, c.hash)
		}
	}
	f.check(promiseSame, same.end(), len(all), "%d keys on %d nodes at revision %d, hash of all keys, values, revisions and versions %s",
		all[0].items, len(all), all[0].revision, all[0].hash)
	f.onceWritten(nodes, all)
	for _, key := range f.hist.Keys() {
		for _, c := range all {
			f.hist.Add(0, history.Input{Kind: history.Get, Key: key}, history.Output{Value: c.ours[key]}, call)
		}
	}
	for _, group := range f.hist.Groups() {
		in := history.Txn{Then: []history.Op{{Range: &history.Span{Prefix: group}}}}
		for _, c := range all {
			out := history.TxnOutput{Succeeded: true, Revision: c.revision, Results: []history.Result{{Items: c.group(group)}}}
			f.hist.AddTxn(0, group, in, out, call)
		}
	}
	return all, true
}

// group returns the keys of a group, which are in order.
func (c *content) group(prefix string) (items []load.Item) {
	for _, item := range c.list {
		if strings.HasPrefix(item.Key, prefix) {
			items = append(items, item)
		}
	}
	return items
}

// lists returns the data of each node, all at the revision of one linearizable read.
func (f *final) lists(ctx context.Context, nodes []node) ([]content, error) {
	deadline := time.Now().Add(settleLimit)
	for {
		newest, err := f.list(ctx, nodes[0].URL(), "linearizable", 0)
		all := make([]content, len(nodes))
		for i, n := range nodes {
			if err == nil {
				all[i], err = f.list(ctx, n.URL(), "stale", newest.revision)
			}
			if err == nil && all[i].revision != newest.revision {
				err = fmt.Errorf("%s is at revision %d, and not at %d: something still writes", n.Name(), all[i].revision, newest.revision)
			}
		}
		if err == nil {
			return all, nil
		}
		if time.Now().After(deadline) || !pause(ctx) {
			return nil, err
		}
	}
}

// list reads all data of a node.
func (f *final) list(ctx context.Context, url, level string, least uint64) (content, error) {
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	resp, err := f.get(ctx, fmt.Sprintf("%s/kv/?consistency=%s&min_revision=%d", url, level, least))
	if err != nil {
		return content{}, err
	}
	defer resp.Body.Close()
	c := content{ours: map[string]string{}}
	if c.revision, err = strconv.ParseUint(resp.Header.Get("Kvorum-Revision"), 10, 64); err != nil {
		return content{}, fmt.Errorf("%s: the list has no revision: %w", url, err)
	}
	sum := sha256.New()
	lines := json.NewEncoder(sum)
	err = load.ReadList(resp.Body, func(item load.Item) error {
		c.items++
		if strings.HasPrefix(item.Key, f.hist.Prefix()) {
			c.ours[item.Key] = item.Value
			c.list = append(c.list, item)
			f.saw(item)
		}
		return lines.Encode(item)
	})
	c.hash = hex.EncodeToString(sum.Sum(nil)[:8])
	return c, err
}

// saw checks that an item has one revision. Numbers are not unique to one write.
func (f *final) saw(item load.Item) {
	if f.hist.IsNumber(item.Key) {
		return
	}
	f.hist.Looked(load.PromiseOnce)
	if err := f.hist.Saw(item.Value, item.ModRevision); err != nil {
		f.hist.Broke(load.PromiseOnce, "in the end: %s: %v", item.Key, err)
	}
}

// onceWritten checks the keys that were written once on each node.
func (f *final) onceWritten(nodes []node, all []content) {
	once, known := f.hist.Once(), map[string]bool{}
	for _, key := range f.hist.Keys() {
		known[key] = true
	}
	count := map[history.Fate]int{}
	for _, o := range once {
		count[o.Fate]++
	}
	lost := &several{f: f, promise: promiseKept}
	never := &several{f: f, promise: promiseNever}
	held := 0
	for i, c := range all {
		name := nodes[i].Name()
		for _, key := range slices.Sorted(maps.Keys(once)) {
			o := once[key]
			value, there := c.ours[key]
			switch {
			case o.Fate == history.Acknowledged && !there:
				lost.add("%s has lost %s", name, key)
			case there && value != o.Value:
				lost.add("%s holds %.40q in %s, which was written once, as %.40q", name, value, key, o.Value)
			case o.Fate == history.NotDone && there:
				never.add("%s holds %s, whose write was reported as not done", name, key)
			}
		}
		for _, key := range slices.Sorted(maps.Keys(c.ours)) {
			held++
			if _, ok := once[key]; !ok && !known[key] && !f.hist.IsWritten(key) {
				never.add("%s holds %s, which nobody wrote", name, key)
			}
		}
	}
	f.check(promiseKept, lost.end(), count[history.Acknowledged], "%d acknowledged writes on %d nodes", count[history.Acknowledged], len(all))
	// It is not an error if no write was reported as not done, because each key that is
	// there was looked up.
	f.check(promiseNever, never.end(), held, "%d writes reported as not done, and %d keys that are there, on %d nodes",
		count[history.NotDone], held/max(1, len(all)), len(all))
}

// hashes compares the state hashes that the nodes themselves record.
func (f *final) hashes(ctx context.Context, nodes []node) {
	const promise = "the replicas' own state hashes are equal at the same index"
	type noted struct {
		hash, node string
	}
	byIndex := map[uint64]noted{}
	compared, differ := map[uint64]int{}, &several{f: f, promise: promise}
	looked := map[string]bool{} // hashes that were compared, by node and index
	var newest uint64
	for deadline := time.Now().Add(hashLimit); time.Now().Before(deadline); {
		settled := 0
		for _, n := range nodes {
			if err := f.ask(ctx, n.URL()+"/status", &n.status); err != nil || n.status.State == nil || n.status.State.Index == 0 {
				continue
			}
			s := n.status.State
			if s.Index == n.status.AppliedIndex {
				settled++
			}
			if at := fmt.Sprint(n.Name(), s.Index); !looked[at] {
				looked[at] = true
				first, ok := byIndex[s.Index]
				if !ok {
					byIndex[s.Index] = noted{s.Hash, n.Name()}
				} else if first.hash != s.Hash {
					differ.add("at index %d %s has %s, and %s has %s", s.Index, first.node, first.hash, n.Name(), s.Hash)
				}
				compared[s.Index]++
				newest = max(newest, s.Index)
			}
		}
		if settled == len(nodes) && compared[newest] == len(nodes) || !pause(ctx) {
			break
		}
	}
	indexes, most := 0, 0
	for _, n := range compared {
		if n > 1 || len(nodes) == 1 {
			indexes, most = indexes+1, max(most, n)
		}
	}
	f.check(promise, differ.end() && most == len(nodes), indexes, "the state at %d indexes, the newest %d, on up to %d of %d nodes", indexes, newest, most, len(nodes))
}
