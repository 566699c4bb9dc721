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

// probePrefix begins the keys that faults write themselves, beside those of the clients.
const probePrefix = "kvchaos-probe/"

// requestTimeout bounds one request of a fault's, but for changes of the membership.
const requestTimeout = 2 * time.Second

// Cluster is the cluster under test as faults see it: who is to be a member, and
// which fault has which host. Its methods may be called concurrently.
type Cluster struct {
	lab   lab.Lab
	watch *Watch
	http  *http.Client
	began time.Time
	say   func(format string, args ...any)
	exits *exits

	mu      sync.Mutex
	members []lab.Host            // guarded by mu; that are, or are to be
	taken   map[lab.Host][]*Fault // guarded by mu; which faults are on a host, until they are over
}

// NewCluster returns the cluster that a Lab's first hosts form. It takes the ends of the
// Lab's processes from now on, until Close. say is told what happens, as text for people,
// and may be called concurrently; watch must outlive the cluster.
func NewCluster(l lab.Lab, watch *Watch, say func(format string, args ...any)) *Cluster {
	c := &Cluster{
		lab: l, watch: watch, http: watch.http, began: watch.began, say: say,
		members: slices.Clone(l.Hosts()[:l.Initial()]), taken: map[lab.Host][]*Fault{},
	}
	c.exits = takeExits(l.Exits(), c)
	return c
}

// Close ends what NewCluster began.
func (c *Cluster) Close() { c.exits.close() }

// Fill adds the ends of processes so far to the record of a run.
func (c *Cluster) Fill(run *record.Run) { c.exits.fill(run) }

// Await waits until every member takes a write, and knows all others, up to limit.
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

// Members returns the hosts that are to be members now.
func (c *Cluster) Members() []lab.Host {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.members)
}

// admit has a host be one of the members, or no longer.
func (c *Cluster) admit(h lab.Host, member bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.members = slices.DeleteFunc(c.members, func(m lab.Host) bool { return m == h })
	if member {
		c.members = append(c.members, h)
	}
}

// takeAll notes that f is on all members that no fault is on, and returns them.
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

// take notes that a fault is on a host.
func (c *Cluster) take(h lab.Host, f *Fault) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.taken[h] = append(c.taken[h], f)
}

// takeOne has choose choose among the members that no fault is on, and notes that f
// is on that one. nil is none.
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

// releaseAll ends what take and takeOne noted.
func (c *Cluster) releaseAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.taken)
}

// faultsOn returns the faults that are on a host.
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

// admin asks a host to change something. id is the member that it is to do that to; ""
// leaves it to the host.
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

// maxAnswer bounds what is read of an answer: 1 MiB.
const maxAnswer = 1 << 20

// send makes one request and returns the answer's body. The error is a *refusal
// where the host answered with no success.
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

// whole returns nil when every member runs, takes a write, reads it at the level
// linearizable, for which it must have caught up, and knows all others, and nobody else,
// as voters. The error names what is not so.
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

// sameMembers returns nil if a status shows these hosts as voters and nobody else.
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

// votes says whether a status shows a host as a voter.
func votes(s *kv.Status, h lab.Host) bool {
	return slices.ContainsFunc(s.Members, func(m kv.Member) bool { return m.ID == h.Name() && m.Voter })
}

// remove takes a host out of the members of the cluster, asking one after the other
// until one says that it is done, or that there is no such member.
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
