package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/kvorum/kvorum/internal/api"
	"github.com/kvorum/kvorum/kv"
)

// leasesPath is the path of all leases, and begins those of single ones.
const leasesPath = "/leases"

// leasePath returns the path of a lease.
func leasePath(id kv.LeaseID) (string, error) {
	if id == 0 {
		return "", usagef("the lease is 0, which is none")
	}
	return leasesPath + "/" + api.FormatLease(id), nil
}

// Grant makes a lease that ends when ttl has passed since it was made or last kept alive. The
// keys that are attached to it, see Attributes.Lease, are deleted then. If id is 0, the cluster
// chooses a new one; a lease with another id that exists makes the error match kv.ErrLeaseExists.
// ttl is in whole milliseconds, above 0 and at most kv.MaxLeaseTTL; other times get ErrUsage. Less
// than kv.MinLeaseTTL is raised to it. The result has the id and the time to live that the lease
// has.
//
// A Grant whose outcome is unknown may have made a lease, which ends by itself.
func (c *Client) Grant(ctx context.Context, id kv.LeaseID, ttl time.Duration) (kv.Lease, error) {
	if err := api.CheckLeaseTTL(ttl); err != nil {
		return kv.Lease{}, usagef("the time to live %w", err)
	}
	body, err := json.Marshal(struct {
		TTL   string      `json:"ttl"`
		Lease api.LeaseID `json:"lease,omitempty"`
	}{ttl.String(), api.LeaseID(id)})
	if err != nil {
		return kv.Lease{}, fmt.Errorf("encode request: %w", err)
	}
	a, err := c.call(ctx, c.timeout, request{method: http.MethodPost, path: leasesPath, body: body, json: true, write: true}, maxAnswerBytes)
	if err != nil {
		return kv.Lease{}, err
	}
	return leaseOf(&a, Done)
}

// leaseOf returns the lease in an answer; o is the outcome if it can't be read.
func leaseOf(a *answer, o Outcome) (kv.Lease, error) {
	var j api.Lease
	if err := a.decode("the lease", o, &j); err != nil {
		return kv.Lease{}, err
	}
	lease, err := j.Lease()
	if err != nil {
		return kv.Lease{}, badAnswer(a.base, a.status, o, "read the lease: %w", err)
	}
	return lease, nil
}

// RevokeResult is the outcome of a Revoke.
type RevokeResult struct {
	// Deleted is the number of keys that were deleted with the lease.
	Deleted int
	// Revision is that of the deletions, or of the store if there were none.
	Revision uint64
}

// Revoke ends a lease, and deletes the keys that are attached to it. If there is no such lease,
// the error matches kv.ErrLeaseNotFound.
func (c *Client) Revoke(ctx context.Context, id kv.LeaseID) (RevokeResult, error) {
	path, err := leasePath(id)
	if err != nil {
		return RevokeResult{}, err
	}
	a, err := c.call(ctx, c.timeout, request{method: http.MethodDelete, path: path, write: true}, maxAnswerBytes)
	if err != nil {
		return RevokeResult{}, err
	}
	var j api.DeleteRangeResponse
	err = a.decode("the number of keys", Done, &j)
	return RevokeResult{Deleted: j.Deleted, Revision: j.Revision}, err
}

// KeepAliveOnce gives a lease its whole time to live again, counted from a moment after the call
// began, and returns that. If there is no such lease, the error matches kv.ErrLeaseNotFound. A call
// whose outcome is unknown is sent again, to each endpoint in turn, until the call's time ends.
func (c *Client) KeepAliveOnce(ctx context.Context, id kv.LeaseID) (time.Duration, error) {
	return c.keepAliveOnce(ctx, c.timeout, id)
}

// keepAliveOnce is KeepAliveOnce within d.
func (c *Client) keepAliveOnce(ctx context.Context, d time.Duration, id kv.LeaseID) (time.Duration, error) {
	path, err := leasePath(id)
	if err != nil {
		return 0, err
	}
	r := request{method: http.MethodPost, path: path + "/keepalive", write: true, repeatable: true}
	a, err := c.call(ctx, d, r, maxAnswerBytes)
	if err != nil {
		return 0, err
	}
	lease, err := leaseOf(&a, Done)
	return lease.TTL, err
}

// TimeToLive describes a lease, with its keys if withKeys is set. If there is no such lease, the
// error matches kv.ErrLeaseNotFound.
func (c *Client) TimeToLive(ctx context.Context, id kv.LeaseID, withKeys bool) (kv.LeaseStatus, error) {
	path, err := leasePath(id)
	if err != nil {
		return kv.LeaseStatus{}, err
	}
	if withKeys {
		path += "?keys=true"
	}
	a, err := c.call(ctx, c.timeout, request{method: http.MethodGet, path: path}, maxTxnAnswer)
	if err != nil {
		return kv.LeaseStatus{}, err
	}
	var j api.LeaseStatus
	if err := a.decode("the lease", NotDone, &j); err != nil {
		return kv.LeaseStatus{}, err
	}
	status, err := j.Status()
	if err != nil {
		return kv.LeaseStatus{}, badAnswer(a.base, a.status, NotDone, "read the lease: %w", err)
	}
	return status, nil
}

// Leases lists the leases behind the id after, in the order of ids as numbers without a sign; 0
// is the beginning. limit is the maximum number of leases, at most kv.MaxLeaseList, which 0 means
// too. It is a linearizable read.
func (c *Client) Leases(ctx context.Context, after kv.LeaseID, limit int) (kv.LeaseList, error) {
	if limit < 0 || limit > kv.MaxLeaseList {
		return kv.LeaseList{}, usagef("the limit is %d, the maximum is %d", limit, kv.MaxLeaseList)
	}
	query := url.Values{}
	setIf(query, "after", api.FormatLease(after))
	if limit > 0 {
		query.Set("limit", strconv.Itoa(limit))
	}
	path := leasesPath
	if len(query) > 0 {
		path += "?" + query.Encode()
	}
	a, err := c.call(ctx, c.timeout, request{method: http.MethodGet, path: path}, maxAnswerBytes)
	if err != nil {
		return kv.LeaseList{}, err
	}
	var j api.LeaseList
	if err := a.decode("the leases", NotDone, &j); err != nil {
		return kv.LeaseList{}, err
	}
	list := kv.LeaseList{More: j.More}
	for i := range j.Leases {
		lease, err := j.Leases[i].Lease()
		if err != nil {
			return kv.LeaseList{}, badAnswer(a.base, a.status, NotDone, "read the leases: %w", err)
		}
		list.Leases = append(list.Leases, lease)
	}
	return list, nil
}
