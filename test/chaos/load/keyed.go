package load

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/kvorum/kvorum/test/history"
)

const (
	// keyedTime is the maximum time for which an addition is sent again. The cluster keeps its
	// answer for twice as long.
	keyedTime = 5 * time.Minute
	// settleTime is the maximum time for which it is sent again after the load has ended.
	settleTime  = 10 * time.Second
	settlePause = 50 * time.Millisecond
)

// keyed is an addition of 1 to a counter, with an idempotency key, until it has an answer.
type keyed struct {
	request request
	call    history.Call // before it was first sent
	began   time.Time
	sent    bool // an attempt has an unknown outcome
}

// addKeyed adds 1 to a counter that has only such additions. One whose outcome is unknown is sent
// again, to any host, instead of a new one. So the counter is their number in the end.
func (c *client) addKeyed() bool {
	host := c.host
	if c.keyed == nil {
		c.next++
		c.keyed = &keyed{call: c.load.hist.Call(), began: time.Now(), request: request{
			method: http.MethodPost, key: fmt.Sprintf("%sc/once-%d", c.load.hist.Prefix(), c.group),
			query: url.Values{"op": {"incr"}, "delta": {"1"}}, once: fmt.Sprintf("%s%d.%d", c.load.hist.Prefix(), c.id, c.next),
		}}
	} else {
		host = c.rng.IntN(len(c.wires))
	}
	return c.sendKeyed(host)
}

// sendKeyed sends the open addition to a host, and records it once it has an answer.
func (c *client) sendKeyed(host int) bool {
	k := c.keyed
	r := k.request
	if k.sent && c.load.cfg.Lie == ForgottenKey {
		r.once = ""
	}
	a := c.ask("incr once", host, r)
	switch {
	case a.fate == history.Acknowledged:
		c.answeredKeyed(a)
	case a.fate == history.Unknown:
		k.sent = true
	case !k.sent: // no attempt was done
		c.keyed = nil
	}
	if c.keyed != nil && time.Since(k.began) > keyedTime {
		c.leaveKeyed()
	}
	return a.status != 0
}

// answeredKeyed records the open addition, with its answer. Some are sent once more, to any host,
// and must have the same answer.
func (c *client) answeredKeyed(a answer) {
	k := c.keyed
	c.keyed = nil
	sum, err := strconv.ParseInt(strings.TrimSpace(a.body), 10, 64)
	if err != nil {
		c.load.hist.Broke(promiseAnswer, "%s added to %s and got %.100q", c.name, k.request.key, a.body)
		return
	}
	c.added(k.request.key, 1, sum, a.revision, history.Acknowledged, k.call)
	if c.rng.IntN(3) > 0 {
		return
	}
	again := c.ask("incr once more", c.rng.IntN(len(c.wires)), k.request)
	if again.fate != history.Acknowledged {
		return // of the first answer this says nothing
	}
	c.load.hist.Looked(promiseKeyed)
	if again.body != a.body || again.revision != a.revision {
		c.load.hist.Broke(promiseKeyed, "%s added with key %s and got %.100q of revision %d, and then %.100q of revision %d",
			c.name, k.request.once, a.body, a.revision, again.body, again.revision)
	}
}

// settleKeyed sends the open addition again until it has an answer. It may remain unknown.
func (c *client) settleKeyed() {
	for began := time.Now(); c.keyed != nil && time.Since(began) < settleTime; time.Sleep(settlePause) {
		c.sendKeyed(c.rng.IntN(len(c.wires)))
	}
	if c.keyed != nil {
		c.leaveKeyed()
	}
}

// leaveKeyed records the open addition as unknown.
func (c *client) leaveKeyed() {
	k := c.keyed
	c.keyed = nil
	c.added(k.request.key, 1, 0, 0, history.Unknown, k.call)
}
