package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kvorum/kvorum/client"
	"github.com/kvorum/kvorum/kv"
)

// leaseText is an answer with the lease 1234.
const leaseText = `{"lease":"00000000000004d2","ttl":"30s"}`

// leaseNotFound answers a node's 404.
var leaseNotFound = problem(http.StatusNotFound, "lease_not_found", "Lease not found", "the lease does not exist", "not_done", false)

// TestLease_Requests checks the request and the result of each call about leases.
func TestLease_Requests(t *testing.T) {
	var bodies []string
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		bodies = append(bodies, string(body))
		w.Header().Set("Kvorum-Lease", "ffffffffffffffff")
		switch {
		case r.Method == http.MethodDelete:
			_, _ = fmt.Fprint(w, `{"deleted":3,"revision":9}`)
		case r.URL.Path == "/leases" && r.Method == http.MethodGet:
			_, _ = fmt.Fprint(w, `{"leases":[`+leaseText+`,{"lease":"ffffffffffffffff","ttl":"2s"}],"more":true}`)
		case r.URL.Query().Has("keys"):
			_, _ = fmt.Fprint(w, `{"lease":"00000000000004d2","ttl":"30s","ttl_ms":29500,"keys":[{"key":"a"},{"key_b64":"/w=="}]}`)
		default:
			_, _ = fmt.Fprint(w, leaseText)
		}
	})
	ctx, c := t.Context(), mustNew(t, client.Config{Endpoints: []string{s.URL}})
	lease := kv.Lease{ID: 1234, TTL: 30 * time.Second}
	for _, id := range []kv.LeaseID{0, 1234, -1} {
		if got, err := c.Grant(client.WithIdempotencyKey(ctx, "g"), id, 1500*time.Millisecond); err != nil || got != lease {
			t.Errorf("grant: got %+v, %v", got, err)
		}
	}
	if ttl, err := c.KeepAliveOnce(ctx, 1234); err != nil || ttl != lease.TTL {
		t.Errorf("keep alive: got %v, %v", ttl, err)
	}
	status, err := c.TimeToLive(ctx, 1234, true)
	if err != nil || status.Lease != lease || status.Remaining != 29500*time.Millisecond || !slices.Equal(status.Keys, []string{"a", "\xff"}) {
		t.Errorf("time to live: got %+v, %v", status, err)
	}
	list, err := c.Leases(ctx, -2, 2)
	if err != nil || !list.More || !slices.Equal(list.Leases, []kv.Lease{lease, {ID: -1, TTL: 2 * time.Second}}) {
		t.Errorf("leases: got %+v, %v", list, err)
	}
	if revoked, err := c.Revoke(client.WithIdempotencyKey(ctx, "r"), 1234); err != nil || revoked.Deleted != 3 || revoked.Revision != 9 {
		t.Errorf("revoke: got %+v, %v", revoked, err)
	}
	if _, err := c.PutWith(ctx, "k", nil, client.Attributes{Lease: 1234, TTL: time.Second}); err != nil {
		t.Error(err)
	}
	if read, err := c.Get(ctx, "k", client.ReadOptions{}); err != nil || read.Lease != -1 {
		t.Errorf("get: got %+v, %v", read, err)
	}
	var got []string
	for _, r := range s.seen() {
		got = append(got, strings.TrimSpace(r.Method+" "+r.URL.RequestURI()+" "+r.Header.Get("Idempotency-Key")))
	}
	if want := []string{
		"POST /leases g", "POST /leases g", "POST /leases g", "POST /leases/00000000000004d2/keepalive", "GET /leases/00000000000004d2?keys=true",
		"GET /leases?after=fffffffffffffffe&limit=2", "DELETE /leases/00000000000004d2 r", "PUT /kv/k?lease=00000000000004d2&ttl=1s", "GET /kv/k?consistency=linearizable",
	}; !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if want := []string{`{"ttl":"1.5s"}`, `{"ttl":"1.5s","lease":"00000000000004d2"}`, `{"ttl":"1.5s","lease":"ffffffffffffffff"}`}; !slices.Equal(bodies[:3], want) {
		t.Errorf("grants: got %q, want %q", bodies[:3], want)
	}
}

// TestLease_Usage checks that calls that no node takes are refused before anything is sent.
func TestLease_Usage(t *testing.T) {
	s := serve(t, ok)
	ctx, c := t.Context(), mustNew(t, client.Config{Endpoints: []string{s.URL}})
	var errs []error
	for _, ttl := range []time.Duration{0, -1, -time.Second, 1, time.Second + 1, kv.MaxLeaseTTL + time.Millisecond} {
		_, err := c.Grant(ctx, 0, ttl)
		errs = append(errs, err)
		_, err = c.Do(ctx, kv.Grant(0, ttl))
		errs = append(errs, err)
	}
	_, once := c.KeepAliveOnce(ctx, 0)
	_, _, keep := c.KeepAlive(ctx, 0)
	_, revoke := c.Revoke(ctx, 0)
	_, ttl := c.TimeToLive(ctx, 0, false)
	_, negative := c.Leases(ctx, 0, -1)
	_, many := c.Leases(ctx, 0, kv.MaxLeaseList+1)
	for i, err := range append(errs, once, keep, revoke, ttl, negative, many) {
		if wantError(t, err, client.NotDone); !errors.Is(err, client.ErrUsage) {
			t.Errorf("call %d: got %v, want ErrUsage", i, err)
		}
	}
	if n := len(s.seen()); n != 0 {
		t.Errorf("got %d requests, want none", n)
	}
}

// TestLease_Errors checks the errors of calls about a lease that does not exist or exists already,
// and answers that can't be read.
func TestLease_Errors(t *testing.T) {
	ctx := t.Context()
	c := mustNew(t, client.Config{Endpoints: []string{serve(t, leaseNotFound).URL}})
	_, once := c.KeepAliveOnce(ctx, 7)
	_, _, keep := c.KeepAlive(ctx, 7)
	_, revoke := c.Revoke(ctx, 7)
	_, ttl := c.TimeToLive(ctx, 7, true)
	_, put := c.PutWith(ctx, "k", nil, client.Attributes{Lease: 7})
	for i, err := range []error{once, keep, revoke, ttl, put} {
		if wantError(t, err, client.NotDone, "the lease does not exist"); !errors.Is(err, kv.ErrLeaseNotFound) {
			t.Errorf("call %d: got %v", i, err)
		}
	}
	c = mustNew(t, client.Config{Endpoints: []string{serve(t, problem(http.StatusConflict, "lease_exists", "Lease exists", "it exists", "not_done", false)).URL}})
	if _, err := c.Grant(ctx, 7, time.Second); !errors.Is(err, kv.ErrLeaseExists) {
		t.Errorf("grant: got %v", err)
	}
	for _, text := range []string{`x`, `{"lease":7,"ttl":"1s"}`, `{"lease":"7","ttl":"1s"}`, `{"lease":"0000000000000007","ttl":"soon"}`, `{"lease":"0000000000000007","ttl":"0s"}`} {
		c := mustNew(t, client.Config{Endpoints: []string{serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) }).URL}})
		_, err := c.Grant(ctx, 7, time.Second)
		wantError(t, err, client.Done, "read the lease")
		_, err = c.KeepAliveOnce(ctx, 7)
		wantError(t, err, client.Done, "read the lease")
		_, err = c.TimeToLive(ctx, 7, false)
		wantError(t, err, client.NotDone, "read the lease")
	}
	c = mustNew(t, client.Config{Endpoints: []string{serve(t, func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Kvorum-Lease", "7") }).URL}})
	_, err := c.Get(ctx, "k", client.ReadOptions{})
	wantError(t, err, client.NotDone, `lease "7" must be the id of a lease`)
}

// TestKeepAliveOnce_OtherEndpoint checks that a keep-alive without a known outcome is sent to the
// next endpoint.
func TestKeepAliveOnce_OtherEndpoint(t *testing.T) {
	good := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, leaseText) })
	for name, bad := range map[string]http.HandlerFunc{"breakOff": breakOff, "unknown": unknownOutcome, "noLeader": noLeader} {
		c := mustNew(t, client.Config{Endpoints: []string{serve(t, bad).URL, good.URL}})
		if ttl, err := c.KeepAliveOnce(t.Context(), 1234); err != nil || ttl != 30*time.Second {
			t.Errorf("%s: got %v, %v", name, ttl, err)
		}
	}
}

// TestKeepAlive_Lost checks that the context of a KeepAlive ends when no node has answered for the
// whole time to live.
func TestKeepAlive_Lost(t *testing.T) {
	first := func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprint(w, `{"lease":"00000000000004d2","ttl":"30ms"}`)
	}
	for name, rest := range map[string]http.HandlerFunc{"NoAnswer": hang, "NoLeader": noLeader, "Unknown": unknownOutcome} {
		c := mustNew(t, client.Config{Endpoints: []string{serve(t, turns(first, rest)).URL}})
		held, stop, err := c.KeepAlive(t.Context(), 1234)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		<-held.Done()
		cause := context.Cause(held)
		if !errors.Is(cause, client.ErrLeaseLost) || !strings.HasPrefix(cause.Error(), "the lease 00000000000004d2 is lost: ") {
			t.Errorf("%s: got %v", name, cause)
		}
		stop()
		stop()
	}
}

// TestKeepAlive_Stop checks that a KeepAlive ends with its context, and by stop.
func TestKeepAlive_Stop(t *testing.T) {
	renewed := make(chan struct{}, 100)
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprint(w, `{"lease":"00000000000004d2","ttl":"5s"}`)
		renewed <- struct{}{}
	})
	c := mustNew(t, client.Config{Endpoints: []string{s.URL}})
	ctx, cancel := context.WithCancel(t.Context())
	for _, end := range []func(stop func()){func(stop func()) { stop() }, func(func()) { cancel() }} {
		held, stop, err := c.KeepAlive(ctx, 1234)
		if err != nil {
			t.Fatal(err)
		}
		<-renewed
		end(stop)
		<-held.Done()
		if cause := context.Cause(held); !errors.Is(cause, context.Canceled) || errors.Is(cause, client.ErrLeaseLost) {
			t.Errorf("got %v", cause)
		}
		stop()
	}
	if _, _, err := c.KeepAlive(ctx, 1234); !errors.Is(err, context.Canceled) {
		t.Errorf("after the end of the context: got %v", err)
	}
}

// TestLease_Node follows leases and their keys through a real node, to the events of a watch.
func TestLease_Node(t *testing.T) {
	ctx, c := t.Context(), mustNew(t, client.Config{Endpoints: []string{endpoint}})
	w := mustWatch(t, c, client.WatchOptions{Span: kv.Prefix("lease/")})
	lease, err := c.Grant(ctx, 0, time.Minute)
	if err != nil || lease.ID <= 0 || lease.TTL != time.Minute {
		t.Fatalf("grant: got %+v, %v", lease, err)
	}
	if _, err := c.Grant(ctx, lease.ID, time.Minute); !errors.Is(err, kv.ErrLeaseExists) || !strings.Contains(err.Error(), lease.ID.String()) {
		t.Errorf("the same lease: got %v", err)
	}
	put, err := c.PutWith(ctx, "lease/a", []byte("v"), client.Attributes{Lease: lease.ID})
	if err != nil {
		t.Fatal(err)
	}
	done, err := c.Do(ctx, kv.Request{
		If:   []kv.Compare{{Span: kv.One("lease/a"), Target: kv.TargetLease, Relation: kv.Equal, Number: int64(lease.ID)}},
		Then: []kv.Op{{Kind: kv.OpPut, Key: "lease/b", Lease: lease.ID}, {Kind: kv.OpRange, Span: kv.One("lease/a")}},
	})
	if err != nil || !done.Succeeded || done.Results[1].Items[0].Lease != lease.ID {
		t.Fatalf("do: got %+v, %v", done, err)
	}
	for _, revision := range []uint64{put.Revision, done.Revision} {
		if b, err := w.Next(); err != nil || b.Revision != revision || b.Events[0].Item.Lease != lease.ID {
			t.Errorf("watch: got %+v, %v", b, err)
		}
	}
	held, stop, err := c.KeepAlive(ctx, lease.ID)
	if err != nil {
		t.Fatal(err)
	}
	status, err := c.TimeToLive(ctx, lease.ID, true)
	if err != nil || status.Lease != lease || status.Remaining <= 0 || !slices.Equal(status.Keys, []string{"lease/a", "lease/b"}) {
		t.Errorf("time to live: got %+v, %v", status, err)
	}
	if list, err := c.Leases(ctx, lease.ID-1, 1); err != nil || !slices.Equal(list.Leases, []kv.Lease{lease}) {
		t.Errorf("leases: got %+v, %v", list, err)
	}
	if read, err := c.Get(ctx, "lease/a", client.ReadOptions{}); err != nil || read.Lease != lease.ID {
		t.Errorf("get: got %+v, %v", read, err)
	}
	revoked, err := c.Revoke(client.WithIdempotencyKey(ctx, "revoke"), lease.ID)
	if err != nil || revoked.Deleted != 2 {
		t.Errorf("revoke: got %+v, %v", revoked, err)
	}
	if again, err := c.Revoke(client.WithIdempotencyKey(ctx, "revoke"), lease.ID); err != nil || again.Deleted != 2 {
		t.Errorf("the same revoke: got %+v, %v", again, err)
	}
	if b, err := w.Next(); err != nil || b.Revision != revoked.Revision || len(b.Events) != 2 {
		t.Errorf("watch: got %+v, %v", b, err)
	}
	if held.Err() != nil {
		t.Errorf("before the next keep-alive: got %v", context.Cause(held))
	}
	stop()
	if _, err := c.KeepAliveOnce(ctx, lease.ID); !errors.Is(err, kv.ErrLeaseNotFound) {
		t.Errorf("keep alive: got %v", err)
	}
	if _, err := c.PutWith(ctx, "lease/c", nil, client.Attributes{Lease: lease.ID}); !errors.Is(err, kv.ErrLeaseNotFound) {
		t.Errorf("put: got %v", err)
	}
}
