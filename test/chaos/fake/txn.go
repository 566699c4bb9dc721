package fake

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strconv"
	"strings"

	"github.com/kvorum/kvorum/test/history"
)

// body returns the body of a request.
func body(r *http.Request) []byte {
	text, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	return text
}

// postLocked carries out a transaction, an addition, a batch or a compaction.
func (n *Node) postLocked(w http.ResponseWriter, r *http.Request, key string) {
	var answer []byte
	var added sum
	newest := n.cluster.newest
	newest.catchUpLocked()
	switch r.URL.Path {
	case "/txn":
		answer = n.cluster.lineLocked(body(r))
	case "/batch":
		count := 0
		for lines := bufio.NewScanner(r.Body); lines.Scan(); count++ {
			answer = append(answer, n.cluster.lineLocked(lines.Bytes())...)
		}
		answer = fmt.Appendf(answer, `{"end":true,"count":%d}`+"\n", count)
	case "/admin/compact":
		if answer = n.cluster.compactLocked(w, body(r)); answer == nil {
			return
		}
	default:
		added = n.cluster.addLocked(r, key)
		answer = fmt.Appendf(nil, "%d\n", added.number)
	}
	if n.Swallow != nil && n.Swallow(r) {
		panic(http.ErrAbortHandler)
	}
	newest.catchUpLocked()
	newest.headers(w, r, newest.items[key].ModRevision)
	if added.revision != 0 {
		w.Header().Set("Kvorum-Revision", strconv.FormatUint(added.revision, 10))
	}
	_, _ = w.Write(answer) // see statusLocked
}

// addLocked carries out an addition to a key, unless one with its idempotency key was.
func (c *Cluster) addLocked(r *http.Request, key string) sum {
	once := r.Header.Get("Idempotency-Key")
	if before, done := c.sums[once]; done {
		return before
	}
	delta, _ := strconv.ParseInt(r.URL.Query().Get("delta"), 10, 64) // the clients give it
	results, revision := c.doLocked([]history.Op{{Add: &history.Add{Key: key, Delta: delta}}})
	added := sum{results[0].Number, revision}
	if once != "" {
		c.sums[once] = added
	}
	return added
}

// lineLocked carries out a transaction or a single operation, and returns the answer.
func (c *Cluster) lineLocked(line []byte) []byte {
	var request struct {
		history.Txn
		history.Op
	}
	if err := json.Unmarshal(line, &request); err != nil {
		panic(err) // the clients send no such request
	}
	var answer any
	if request.Op != (history.Op{}) {
		results, revision := c.doLocked([]history.Op{request.Op})
		answer = map[string]any{"revision": revision, "result": results[0]}
	} else {
		out := history.TxnOutput{Succeeded: true}
		for _, compare := range request.If {
			it, ok := c.newest.items[compare.Key]
			switch {
			case compare.Exists != nil:
				ok = ok == *compare.Exists
			case compare.Version != nil:
				ok = it.Version == *compare.Version
			default:
				ok = ok && it.Value == *compare.Value
			}
			out.Succeeded = out.Succeeded && ok
		}
		ops := request.Then
		if !out.Succeeded {
			ops = request.Else
		}
		out.Results, out.Revision = c.doLocked(ops)
		answer = out
	}
	text, err := json.Marshal(answer)
	if err != nil {
		panic(err)
	}
	return append(text, '\n')
}

// doLocked carries out operations at one revision, which it returns.
func (c *Cluster) doLocked(ops []history.Op) (results []history.Result, revision uint64) {
	items, revision := maps.Clone(c.newest.items), uint64(len(c.writes)+1)
	var changes []change
	set := func(key, value string) bool {
		old, ok := items[key]
		items[key] = next(old, key, value, revision)
		changes = append(changes, change{key: key, value: value})
		return ok
	}
	for _, o := range ops {
		r := history.Result{ModRevision: revision}
		switch {
		case o.Put != nil:
			r.Existed = set(o.Put.Key, o.Put.Value)
		case o.Add != nil:
			before, _ := strconv.ParseInt(items[o.Add.Key].Value, 10, 64) // 0 for none
			r.Number = before + o.Add.Delta
			r.Existed = set(o.Add.Key, strconv.FormatInt(r.Number, 10))
		case o.Delete != nil:
			for _, it := range sorted(items, o.Delete.Has) {
				delete(items, it.Key)
				changes = append(changes, change{key: it.Key, deleted: true})
				r.Deleted++
			}
		case o.Get != nil:
			if it, ok := items[o.Get.Key]; ok {
				r.Item = &it
			}
		default:
			r.Items = sorted(items, o.Range.Has)
		}
		results = append(results, r)
	}
	if len(changes) > 0 {
		c.appendLocked(changes...)
	}
	c.newest.catchUpLocked()
	return results, uint64(len(c.writes))
}

// compactLocked discards history. The answer is nil if it has answered with an error.
func (c *Cluster) compactLocked(w http.ResponseWriter, request []byte) []byte {
	var asked struct{ Revision int }
	if err := json.Unmarshal(request, &asked); err != nil {
		panic(err)
	}
	if asked.Revision <= c.compact {
		c.compacted(w)
		return nil
	}
	c.compact = asked.Revision
	return fmt.Appendf(nil, `{"revision":%d,"compact_revision":%d}`, len(c.writes), c.compact)
}

// compacted answers that a revision is not kept any more.
func (c *Cluster) compacted(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(http.StatusGone)
	_ = json.NewEncoder(w).Encode(map[string]any{"status": http.StatusGone, "code": "compacted", "outcome": "not_done", "compact_revision": c.compact}) // see statusLocked
}

// atLocked returns the node as it was at the revision that a request asks for. It returns nil
// if it has answered with an error.
func (n *Node) atLocked(w http.ResponseWriter, r *http.Request) *Node {
	text := r.URL.Query().Get("revision")
	if text == "" {
		return n
	}
	revision, err := strconv.Atoi(text)
	switch {
	case err != nil || revision > len(n.cluster.writes):
		Problem(w, http.StatusBadRequest, "future_revision", "not_done")
		return nil
	case revision < n.cluster.compact:
		n.cluster.compacted(w)
		return nil
	}
	past := &Node{cluster: n.cluster, items: map[string]item{}}
	past.applyLocked(revision)
	return past
}

// prefixed returns a function that reports whether a key has a prefix.
func prefixed(prefix string) func(string) bool {
	return func(key string) bool { return strings.HasPrefix(key, prefix) }
}
