package nemesis

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/kvorum/kvorum/kv"
	"github.com/kvorum/kvorum/test/chaos/lab"
	"github.com/kvorum/kvorum/test/chaos/record"
)

// probePrefix is the beginning of the keys that faults write themselves, beside those of
// the clients.
const probePrefix = "kvchaos-probe/"

// requestTimeout is the maximum time of a fault's request, except changes of the
// membership.
const requestTimeout = 2 * time.Second

// Cluster is the cluster under test as faults see it: the hosts that should be members, and
// the faults of each host. Its methods are safe for concurrent use.
type Cluster struct {
	lab   lab.Lab
	watch *Watch
	http  *http.Client
	began time.Time
	say   func(format string, args ...any)
	exits *exits

	mu      sync.Mutex
	members []lab.Host            // guarded by mu; hosts that are members, or will be
	taken   map[lab.Host][]*Fault // guarded by mu; which faults are on a host, until they are over
}

// NewCluster returns the cluster that a Lab's first hosts form. It takes the ends of the
// Lab's processes until Close. It calls say, also concurrently, with text for people about
// events. watch must outlive the cluster.
func NewCluster(l lab.Lab, watch *Watch, say func(format string, args ...any)) *Cluster {
	c := &Cluster{
		lab: l, watch: watch, http: watch.http, began: watch.began, say: say,
		members: slices.Clone(l.Hosts()[:l.Initial()]), taken: map[lab.Host][]*Fault{},
	}
	c.exits = takeExits(l.Exits(), c)
	return c
}

// Close ends the work that NewCluster began.
func (c *Cluster) Close() { c.exits.close() }

// Fill adds the ends of processes so far to the record of a run.
func (c *Cluster) Fill(run *record.Run) { c.exits.fill(run) }

// Await waits, up to limit, until every member accepts a write and knows all others.
func (c *Cluster) Await(ctx context.Context, limit time.Duration) error {
	return poll(ctx, limit, c.whole)
}

// at returns a moment as a record has it.
func (c *Cluster) at(t time.Time) float64 { return t.Sub(c.began).Round(time.Millisecond).Seconds() }

// newClient returns an HTTP client that keeps no connection: the next request may be
// to another process.
func newClient() *http.Client {
	return &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true, DialContext: (&net.Dialer{Timeout: requestTimeout}).DialContext,
	}}
}

// Members returns the hosts that should be members now.
func (c *Cluster) Members() []lab.Host {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.members)
}

// admit adds a host to the members, or removes it.
func (c *Cluster) admit(h lab.Host, member bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.members = slices.DeleteFunc(c.members, func(m lab.Host) bool { return m == h })
	if member {
		c.members = append(c.members, h)
	}
}

// takeAll assigns f to all members without a fault, and returns them.
func (c *Cluster) takeAll(f *Fault) (all []lab.Host) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, h := range c.members {
		if len(c.taken[h]) == 0 {
			c.taken[h] = append(c.taken[h], f)
			all = append(all, h)
		}
	}
	return all
}

// take assigns a fault to a host.
func (c *Cluster) take(h lab.Host, f *Fault) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.taken[h] = append(c.taken[h], f)
}

// takeOne lets choose choose among the members without a fault, and assigns f to that host.
// It returns nil if choose does.
func (c *Cluster) takeOne(f *Fault, choose func(free []lab.Host) lab.Host) lab.Host {
	c.mu.Lock()
	defer c.mu.Unlock()
	var free []lab.Host
	for _, h := range c.members {
		if len(c.taken[h]) == 0 {
			free = append(free, h)
		}
	}
	h := choose(free)
	if h != nil {
		c.taken[h] = append(c.taken[h], f)
	}
	return h
}

// releaseAll ends all assignments of faults.
func (c *Cluster) releaseAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.taken)
}

// faultsOn returns the faults of a host.
func (c *Cluster) faultsOn(h lab.Host) []*Fault {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.taken[h])
}

// status asks a host for its status.
func (c *Cluster) status(ctx context.Context, h lab.Host) (*kv.Status, error) {
	return status(ctx, c.http, h)
}

// status asks a host for its status.
func status(ctx context.Context, client *http.Client, h lab.Host) (*kv.Status, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	body, err := send(ctx, client, http.MethodGet, h.URL()+"/status", nil)
	if err != nil {
		return nil, fmt.Errorf("status of %s: %w", h.Name(), err)
	}
	var s kv.Status
	if err := json.Unmarshal(body, &s); err != nil {
		return nil, fmt.Errorf("status of %s: %w", h.Name(), err)
	}
	return &s, nil
}

// serves returns nil when a host acknowledges a write of the name "what".
func (c *Cluster) serves(ctx context.Context, h lab.Host, what string) error {
	return c.put(ctx, h, what, []byte(h.Name()))
}

// put writes a value of the name "what" through a host.
func (c *Cluster) put(ctx context.Context, h lab.Host, what string, value []byte) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	_, err := send(ctx, c.http, http.MethodPut, h.URL()+"/kv/"+probePrefix+what, value)
	if err != nil {
		return fmt.Errorf("a write on %s: %w", h.Name(), err)
	}
	return nil
}

// reads returns nil when a host answers a read of the name "what".
func (c *Cluster) reads(ctx context.Context, h lab.Host, what string) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	if _, err := send(ctx, c.http, http.MethodGet, h.URL()+"/kv/"+probePrefix+what, nil); err != nil {
		return fmt.Errorf("a read on %s: %w", h.Name(), err)
	}
	return nil
}

// admin sends a host a request to change the member with the given id; with "" the host
// chooses.
func (c *Cluster) admin(ctx context.Context, h lab.Host, what, id string) error {
	var body []byte
	if id != "" {
		var err error
		if body, err = json.Marshal(map[string]string{"id": id}); err != nil {
			return err
		}
	}
	_, err := send(ctx, c.http, http.MethodPost, h.URL()+"/admin/"+what, body)
	if err != nil {
		return fmt.Errorf("%s of %q at %s: %w", what, id, h.Name(), err)
	}
	return nil
}

// refusal is an HTTP answer that is not a 2xx.
type refusal struct {
	status int
	body   string
}

// Error implements error.
func (r *refusal) Error() string { return fmt.Sprintf("%d: %s", r.status, r.body) }

// maxAnswer is the maximum number of bytes of an answer that are read: 1 MiB.
const maxAnswer = 1 << 20

// send makes one request and returns the answer's body. The error is a *refusal if the
// answer is not a success.
func send(ctx context.Context, client *http.Client, method, url string, body []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, err
	}
	if resp.StatusCode/100 != 2 {
		return nil, &refusal{resp.StatusCode, string(answer[:min(len(answer), 300)])}
	}
	return answer, nil
}

// whole returns nil when every member runs, accepts a write, reads it at the level
// linearizable, so that it has caught up, and knows exactly the members as voters. The
// error names the condition that does not hold.
func (c *Cluster) whole(ctx context.Context) error {
	members := c.Members()
	return each(members, func(h lab.Host) error {
		if !h.Running() {
			return fmt.Errorf("%s does not run", h.Name())
		}
		if err := c.serves(ctx, h, h.Name()); err != nil {
			return err
		}
		if err := c.reads(ctx, h, h.Name()); err != nil {
			return err
		}
		s, err := c.status(ctx, h)
		if err != nil {
			return err
		}
		return sameMembers(s, members)
	})
}

// sameMembers returns nil if a status shows exactly these hosts as voters.
func sameMembers(s *kv.Status, members []lab.Host) error {
	for _, h := range members {
		if !votes(s, h) {
			return fmt.Errorf("%s does not know %s as a voter: %+v", s.ID, h.Name(), s.Members)
		}
	}
	if len(s.Members) != len(members) {
		return fmt.Errorf("%s knows more members than %d: %+v", s.ID, len(members), s.Members)
	}
	return nil
}

// votes reports whether a status shows a host as a voter.
func votes(s *kv.Status, h lab.Host) bool {
	return slices.ContainsFunc(s.Members, func(m kv.Member) bool { return m.ID == h.Name() && m.Voter })
}

// remove removes a host from the cluster. It asks one member after the other until one
// answers that this is done, or that there is no such member.
func (c *Cluster) remove(ctx context.Context, h lab.Host) error {
	c.admit(h, false)
	at := 0
	return poll(ctx, undoTimeout, func(ctx context.Context) error {
		members := c.Members()
		at++
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		err := c.admin(ctx, members[at%len(members)], "leave", h.Name())
		var refused *refusal
		if errors.As(err, &refused) && refused.status == http.StatusNotFound {
			return nil
		}
		return err
	})
}
