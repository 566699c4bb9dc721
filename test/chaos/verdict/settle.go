package verdict

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/kvorum/kvorum/kv"
	"github.com/kvorum/kvorum/test/chaos/lab"
)

// node is a host that runs and is a member, with its newest status.
type node struct {
	lab.Host
	status kv.Status
}

// settle waits until all members among the hosts serve and have applied the same.
func (f *final) settle(ctx context.Context) (nodes []node, ok bool) {
	const promise = "all nodes serve and reach the same index when nothing is broken any more"
	var why error
	deadline := time.Now().Add(settleLimit)
	began := time.Now()
	for nodes, why = f.look(ctx); why != nil; nodes, why = f.look(ctx) {
		if time.Now().After(deadline) || !pause(ctx) {
			f.violate(promise, "after %v: %v", time.Since(began).Round(time.Second), why)
			f.check(promise, false, len(f.hosts), "%d hosts", len(f.hosts))
			return nil, false
		}
	}
	index := uint64(0)
	if len(nodes) > 0 {
		index = nodes[0].status.AppliedIndex
	}
	f.check(promise, true, len(nodes), "%d nodes at index %d, after %.1f s", len(nodes), index, time.Since(began).Seconds())
	return nodes, len(nodes) > 0
}

// pause waits a little. It returns false if ctx has ended.
func pause(ctx context.Context) bool {
	select {
	case <-time.After(pollTick):
		return true
	case <-ctx.Done():
		return false
	}
}

// look returns the members, as the leader knows them, or the reason why they are not all
// there and equal.
func (f *final) look(ctx context.Context) ([]node, error) {
	var nodes []node
	var leader *kv.Status
	for _, h := range f.hosts {
		if !h.Running() {
			continue
		}
		n := node{Host: h}
		if err := f.ask(ctx, h.URL()+"/status", &n.status); err != nil {
			return nil, fmt.Errorf("%s: %w", h.Name(), err)
		}
		if s := n.status; s.Role == "leader" && (leader == nil || s.Term > leader.Term) {
			leader = &s
		}
		nodes = append(nodes, n)
	}
	if leader == nil {
		return nil, fmt.Errorf("none of the %d nodes that run leads", len(nodes))
	}
	var inside []node
	for _, n := range nodes {
		if slices.ContainsFunc(leader.Members, func(m kv.Member) bool { return m.ID == n.status.ID }) {
			inside = append(inside, n)
		}
	}
	if len(inside) < len(leader.Members) {
		return nil, fmt.Errorf("%d members, of which %d run", len(leader.Members), len(inside))
	}
	for _, n := range inside {
		if err := f.ask(ctx, n.URL()+"/readyz", nil); err != nil {
			return nil, fmt.Errorf("%s: %w", n.Name(), err)
		}
		if a, b := inside[0].status, n.status; a.AppliedIndex != b.AppliedIndex {
			return nil, fmt.Errorf("%s has applied index %d, %s %d", inside[0].Name(), a.AppliedIndex, n.Name(), b.AppliedIndex)
		}
	}
	return inside, nil
}

// ask asks a node for a page, and decodes it if into is not nil.
func (f *final) ask(ctx context.Context, url string, into any) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	resp, err := f.get(ctx, url)
	if err != nil || into == nil {
		return errors.Join(err, closed(resp))
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		return fmt.Errorf("decode %s: %w", url, err)
	}
	return nil
}

// get asks for a page whose answer must be 200. The caller closes its body.
func (f *final) get(ctx context.Context, url string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, fmt.Errorf("make a request: %w", err)
	}
	req.Header.Set("Accept", "application/x-ndjson") // of a list
	resp, err := f.client.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, errors.Join(fmt.Errorf("%s answers %s", url, resp.Status), closed(resp))
	}
	return resp, nil
}

// closed closes the body of an answer that is not read; resp may be nil.
func closed(resp *http.Response) error {
	if resp == nil {
		return nil
	}
	return resp.Body.Close()
}
