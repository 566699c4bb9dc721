package httpapi

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/kvorum/kvorum/internal/api"
	"github.com/kvorum/kvorum/internal/strictjson"
	"github.com/kvorum/kvorum/kv"
)

// Templates of the routes of leases. No id of a lease is "keepalive".
const (
	leasesRoute     = "/leases"
	keepAlivesRoute = "/leases/keepalive"
	leaseRoute      = "/leases/{lease}"
	keepAliveRoute  = "/leases/{lease}/keepalive"
)

// leaseField is the name of the id of a lease as the field of an error.
const leaseField = "lease"

// parseLease returns the id of a lease in a path or a parameter.
func parseLease(text string) (kv.LeaseID, error) {
	id, err := api.ParseLease(text)
	if err != nil {
		return 0, invalidField(leaseField, err.Error())
	}
	return id, nil
}

// leaseOf returns the id of the lease in r's path.
func leaseOf(r *http.Request) (kv.LeaseID, error) {
	text, _, _ := strings.Cut(strings.TrimPrefix(r.URL.EscapedPath(), leasesRoute+"/"), "/")
	return parseLease(text)
}

// readGrant reads the members of a grant as an object.
func readGrant(r *strictjson.Reader) kv.Op {
	op := kv.Op{Kind: kv.OpGrant}
	r.Object(func(name string) bool { return grantMember(r, name, &op) })
	if op.TTL == 0 {
		r.FailAt(ttlField, "is required")
	}
	return op
}

// grantMember reads the member of a grant with a name, and reports whether there is one.
func grantMember(r *strictjson.Reader, name string, op *kv.Op) bool {
	switch name {
	case ttlField:
		op.TTL = readTTL(r, api.ParseLeaseTTL)
	case leaseField:
		op.Lease = readLease(r, api.ParseLease)
	default:
		return false
	}
	return true
}

// grant answers POST /leases: 201 with the lease that it made.
func (s *Server) grant(w *response, r *http.Request) error {
	op := kv.Op{Kind: kv.OpGrant}
	err := s.takeObject(w, r, func(b *strictjson.Reader, name string) bool { return grantMember(b, name, &op) })
	switch {
	case err != nil:
		return err
	case op.TTL == 0:
		return invalidField(ttlField, "is required")
	}
	done, err := s.doLease(w, op)
	if err != nil {
		return err
	}
	result := &done.Results[0]
	answer := api.NewLease(kv.Lease{ID: result.Lease, TTL: result.TTL})
	answer.Replayed = done.Replayed
	w.Header().Set("Location", leasesRoute+"/"+api.FormatLease(result.Lease))
	writeJSON(w, http.StatusCreated, jsonType, answer)
	return nil
}

// revoke answers DELETE /leases/{lease}: it ends the lease, and answers with the number of keys
// that were deleted with it.
func (s *Server) revoke(w *response, r *http.Request) error {
	id, err := s.leaseCall(r)
	if err != nil {
		return err
	}
	done, err := s.doLease(w, kv.Op{Kind: kv.OpRevoke, Lease: id})
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, jsonType, api.DeleteRangeResponse{Deleted: done.Results[0].Deleted, Revision: done.Revision})
	return nil
}

// doLease makes the node carry out an operation that makes or ends a lease. It runs to its end
// even if the client disconnects.
func (s *Server) doLease(w *response, op kv.Op) (kv.Response, error) {
	ctx, cancel := context.WithTimeout(s.ctx, s.cfg.RequestTimeout)
	defer cancel()
	done, err := s.node.Do(ctx, kv.Request{Then: []kv.Op{op}, IdempotencyKey: w.idempotencyKey})
	if err != nil {
		return done, err
	}
	setReplayed(w.Header(), done.Replayed)
	setRevisions(w.Header(), done.Revision, 0)
	return done, nil
}

// leaseCall returns the id of the lease in the path of a request that has no parameters.
func (s *Server) leaseCall(r *http.Request) (kv.LeaseID, error) {
	if _, err := parseQuery(r.URL.RawQuery); err != nil {
		return 0, err
	}
	if err := refuseConditions(r.Header, "is not for a lease"); err != nil {
		return 0, err
	}
	return leaseOf(r)
}

// keepAlive answers POST /leases/{lease}/keepalive with the lease, which has its whole time to
// live again.
func (s *Server) keepAlive(w *response, r *http.Request) error {
	id, err := s.leaseCall(r)
	if err != nil {
		return err
	}
	if err := w.checkNoBody(r); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), s.cfg.RequestTimeout)
	defer cancel()
	ttl, err := s.node.KeepAlive(ctx, id)
	switch {
	case err != nil:
		return err
	case ttl == 0:
		return kv.ErrLeaseNotFound
	}
	writeJSON(w, http.StatusOK, jsonType, api.NewLease(kv.Lease{ID: id, TTL: ttl}))
	return nil
}

// lease answers GET /leases/{lease} with the lease, what is left of it, and with keys=true the
// keys that are attached to it.
func (s *Server) lease(w *response, r *http.Request) error {
	q, err := parseQuery(r.URL.RawQuery, "keys")
	if err != nil {
		return err
	}
	withKeys, err := q.flag("keys")
	if err != nil {
		return err
	}
	id, err := leaseOf(r)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), s.cfg.RequestTimeout)
	defer cancel()
	if withKeys {
		if err := s.expectBytes(w, kv.MaxAnswerBytes); err != nil {
			return err
		}
	}
	status, err := s.node.TimeToLive(ctx, id, withKeys)
	if err != nil {
		return err
	}
	s.writeLeases(w, api.NewLeaseStatus(&status, withKeys))
	return nil
}

// leaseListNames are the parameters of the list of leases.
var leaseListNames = []string{"after", "limit"}

// leases answers GET /leases with the leases behind the id in after, at most limit of them.
func (s *Server) leases(w *response, r *http.Request) error {
	q, err := parseQuery(r.URL.RawQuery, leaseListNames...)
	if err != nil {
		return err
	}
	var after kv.LeaseID
	if text, given := q["after"]; given {
		if after, err = api.ParseLease(text); err != nil {
			return invalidParam("after", err.Error())
		}
	}
	limit, err := q.positive("limit")
	switch {
	case err != nil:
		return err
	case limit > kv.MaxLeaseList:
		return invalidParam("limit", fmt.Sprintf("is %d, the maximum is %d", limit, kv.MaxLeaseList))
	}
	if err := s.expectBytes(w, expectedLease*int64(cmp.Or(limit, kv.MaxLeaseList))); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), s.cfg.RequestTimeout)
	defer cancel()
	list, err := s.node.Leases(ctx, after, limit)
	if err != nil {
		return err
	}
	answer := api.LeaseList{Leases: make([]api.Lease, len(list.Leases)), More: list.More}
	for i, l := range list.Leases {
		answer.Leases[i] = api.NewLease(l)
	}
	s.writeLeases(w, answer)
	return nil
}

// writeLeases writes a long answer about leases, for which room is reserved.
func (s *Server) writeLeases(w *response, answer any) {
	body := encodeJSON(answer)
	s.bytesAre(w, int64(len(body)))
	writeBody(w, http.StatusOK, jsonType, body)
}
