package httpapi

import (
	"context"
	"net/http"

	"github.com/kvorum/kvorum/internal/api"
	"github.com/kvorum/kvorum/kv"
)

// deleteRange answers DELETE /kv/ with the number of keys that it has removed. An empty
// prefix is refused, because its cause is probably an unset variable of a script; all=true
// removes all keys.
func (s *Server) deleteRange(w *response, r *http.Request) error {
	q, err := parseQuery(r.URL.RawQuery, append([]string{"all"}, rangeNames...)...)
	if err != nil {
		return err
	}
	p, err := s.rangeParams(q)
	if err != nil {
		return err
	}
	all, err := q.flag("all")
	switch selects := p != (rangeParams{}); {
	case err != nil:
		return err
	case all && selects:
		return invalidParam("all", "is not for a request with prefix, start or end")
	case !all && !selects:
		return invalidParam("prefix", "is required, or start or end; all=true is for all keys")
	}
	if err := refuseConditions(r.Header, "is for a single key"); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(s.ctx, s.cfg.RequestTimeout)
	defer cancel()
	done, err := s.node.Do(ctx, kv.Request{Then: []kv.Op{{Kind: kv.OpDelete, Span: p.span()}}, IdempotencyKey: w.idempotencyKey})
	if err != nil {
		return err
	}
	setReplayed(w.Header(), done.Replayed)
	setRevisions(w.Header(), done.Revision, 0)
	writeJSON(w, http.StatusOK, jsonType, api.DeleteRangeResponse{Deleted: done.Results[0].Deleted, Revision: done.Revision})
	return nil
}
